#pragma once
// Twelve and more updates of one parameter on every path of the engine, and the same in double
// precision by a plain transcription.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "optim/helpers.h"

namespace penstock::tests {

using Shape = std::vector<std::int64_t>;

/// Tall, wide, square, a vector, one row, hardly anything: no size is a multiple of a block (1024)
/// or of a vector, and the largest is worked on by several threads.
inline const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all{{167, 101}, {7, 301}, {33, 33}, {1027}, {1, 1501}, {3}};
  return all;
}

inline at::Tensor normal(const Shape& shape, const std::string& name) {
  at::Tensor result = at::empty(shape, at::kDouble);
  auto* values = result.mutable_data_ptr<double>();
  const auto key = random_key(11, name);
  for (std::int64_t i = 0; i < result.numel(); ++i) {
    values[i] = random_normal(key, static_cast<std::uint64_t>(i));
  }
  return result;
}

/// Gradients whose size changes by up to a factor of 1000 between updates; the last element's are
/// about 1e-8, an Adam's eps. The learning rate differs in every update, and so does the momentum
/// where it is scheduled.
struct Problem {
  at::Tensor weight;     // fp32
  at::Tensor gradients;  // [updates, shape], fp32
  bool momentum_schedule = false;

  static constexpr std::int64_t updates = 14;

  explicit Problem(const Shape& shape, bool schedule = false) : momentum_schedule(schedule) {
    weight = normal(shape, "weight").to(at::kFloat);
    std::vector<at::Tensor> all;
    for (std::int64_t k = 0; k < updates; ++k) {
      const double size = std::pow(10.0, 0.5 * static_cast<double>((5 * k) % 7 - 3));
      at::Tensor g = normal(shape, "gradient " + std::to_string(k)) * size;
      g.view({-1})[-1] = 1e-8 * static_cast<double>(k % 3 + 1);
      all.push_back(g.to(at::kFloat));
    }
    gradients = at::stack(all);
  }

  double lr(std::int64_t k) const { return 0.05 * (1 + 0.5 * std::cos(static_cast<double>(k))); }
  std::optional<double> momentum(std::int64_t k) const {
    if (!momentum_schedule) return std::nullopt;
    return 0.5 + 0.035 * static_cast<double>(k);
  }
  engine::ParameterUpdater::Moment moment(std::int64_t k) const {
    const auto progress = static_cast<double>(k) / static_cast<double>(updates);
    return {.step = k + 1, .lr = lr(k), .momentum = momentum(k), .progress = progress};
  }
};

/// sweep: fp32, contiguous, one pass. tensors: fp32 in other strides, tensor by tensor. parts: the
/// update apart from what comes before and after it. doubles: tensor by tensor in fp64.
enum class Path { sweep, tensors, parts, doubles };

inline std::string name_of(Path path) {
  return std::vector<std::string>{"sweep", "tensors", "parts", "doubles"}.at(
      static_cast<std::size_t>(path));
}

/// The same values in memory that no sweep takes.
inline at::Tensor spread(const at::Tensor& tensor) {
  at::Tensor twice = at::stack({tensor, tensor}, -1);
  return twice.select(-1, 0);
}

inline at::Tensor laid_out(const at::Tensor& tensor, Path path) {
  if (path == Path::doubles) return tensor.to(at::kDouble).clone();
  return path == Path::tensors ? spread(tensor) : tensor.clone();
}

/// The weights after each update, [updates, shape].
inline at::Tensor run(const Problem& problem, const optim::Optimizer& optimizer,
                      double weight_decay, Path path,
                      const delay::Correction* correction = nullptr) {
  const auto none = tests::correction("none");
  at::Tensor weight = laid_out(problem.weight, path);
  engine::ParameterUpdater updater(optimizer, correction ? *correction : *none, weight_decay,
                                   weight);
  std::vector<at::Tensor> after;
  for (std::int64_t k = 0; k < Problem::updates; ++k) {
    const engine::Gradient gradient{laid_out(problem.gradients[k], path)};
    const auto moment = problem.moment(k);
    const engine::WeightPlaces places{weight, weight};
    if (path == Path::parts) {
      const at::Tensor input = updater.optimizer_input(gradient, moment, places);
      const at::Tensor u = optimizer.update(input, updater.optimizer_state(),
                                            updater.optimizer_context(gradient, moment));
      updater.finish(u, gradient, moment, places);
    } else {
      updater.apply(gradient, moment, places);
    }
    after.push_back(weight.to(at::kDouble).contiguous().clone());
  }
  return at::stack(after);
}

// ---- the plain transcription ----

/// All that one element's update depends on: the gradients so far, with coupled decay, the newest
/// last, and the momentum of each of these updates.
struct History {
  std::vector<double> g;
  std::vector<double> momentum;
  double lr = 0;
};

/// Sum of (1 - keep_i) x_i times the product of all later keeps: an exponential average from 0.
inline double average(const std::vector<double>& x, const std::vector<double>& keep) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double term = (1 - keep[i]) * x[i];
    for (std::size_t j = i + 1; j < x.size(); ++j) term *= keep[j];
    sum += term;
  }
  return sum;
}
inline double average(const std::vector<double>& x, double keep) {
  return average(x, std::vector<double>(x.size(), keep));
}
inline double product(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 1.0, std::multiplies<>());
}
inline std::vector<double> squares(std::vector<double> x) {
  for (double& value : x) value *= value;
  return x;
}
inline double sign_of(double x) { return x > 0 ? 1 : (x < 0 ? -1 : 0); }

enum class Decay { decoupled, coupled, proximal };

/// An optimizer's rule as it stands in its source.
struct Transcription {
  std::string optimizer;
  Options options = {};
  double momentum = 0;  // of the option that a schedule moves
  std::function<double(const History&)> update = {};
  double weight_decay = 0.1;
  Decay decay = Decay::decoupled;
};

inline at::Tensor transcribed(const Problem& problem, const Transcription& rule) {
  const at::Tensor gradients = problem.gradients.to(at::kDouble).contiguous();
  at::Tensor after = at::empty_like(gradients);
  const at::Tensor start = problem.weight.to(at::kDouble).contiguous();
  const auto count = start.numel();
  for (std::int64_t i = 0; i < count; ++i) {
    double w = start.const_data_ptr<double>()[i];
    History history;
    for (std::int64_t k = 0; k < Problem::updates; ++k) {
      const double decay = rule.weight_decay;
      double g = gradients.const_data_ptr<double>()[k * count + i];
      if (rule.decay == Decay::coupled) g += decay * w;
      history.g.push_back(g);
      history.momentum.push_back(problem.momentum(k).value_or(rule.momentum));
      history.lr = problem.lr(k);
      const double u = rule.update(history);
      if (rule.decay == Decay::decoupled) w = w - history.lr * decay * w - u;
      if (rule.decay == Decay::coupled) w -= u;
      if (rule.decay == Decay::proximal) w = (w - u) / (1 + history.lr * decay);
      after.mutable_data_ptr<double>()[k * count + i] = w;
    }
  }
  return after;
}

// Fourteen updates round the weights twice each, to 2^-24: 28 * 6e-8 = 1.7e-6 of the largest
// weights on the way, which are up to twice the final ones where a heavy ball turns round. Updates
// have some ten roundings (6e-7), and their sum is at most as large as the weights on the way.
constexpr double fp32_tolerance = 5e-6;
// The same with roundings of 1.1e-16, and ten times that for the transcription's sums.
constexpr double fp64_tolerance = 1e-13;

/// Every shape, on every path, with constant and with scheduled momentum.
inline void expect_follows(const Transcription& rule,
                           const std::function<Problem(Problem)>& as_seen_by_rule = {}) {
  const auto optimizer = tests::optimizer(rule.optimizer, rule.options);
  EXPECT_EQ(optimizer->peak_momentum(), rule.momentum);
  for (const bool schedule : {false, true}) {
    for (const Shape& shape : shapes()) {
      const Problem problem(shape, schedule);
      const at::Tensor expected =
          transcribed(as_seen_by_rule ? as_seen_by_rule(problem) : problem, rule);
      for (const Path path : {Path::sweep, Path::tensors, Path::parts, Path::doubles}) {
        const at::Tensor actual = run(problem, *optimizer, rule.weight_decay, path);
        EXPECT_LT(worst_error(actual, expected),
                  path == Path::doubles ? fp64_tolerance : fp32_tolerance)
            << rule.optimizer << " " << shape << ", " << name_of(path)
            << (schedule ? ", scheduled momentum" : "");
      }
    }
  }
}

// ---- what holds for every optimizer ----

/// Changing an option must change the weights, by far more than rounding in fp64.
inline void expect_uses(const std::string& name, const Options& base,
                        const std::vector<std::pair<std::string, config::Value>>& changes) {
  const Problem problem({5, 31});
  const at::Tensor expected = run(problem, *optimizer(name, base), 0.1, Path::doubles);
  for (const auto& [key, value] : changes) {
    Options changed = base;
    changed[key] = value;
    const at::Tensor other = run(problem, *optimizer(name, changed), 0.1, Path::doubles);
    EXPECT_GT(worst_error(other, expected), 1e-8) << name << "." << key;
  }
  EXPECT_EQ(optimizer(name, {{"lr", 0.7}})->peak_lr(), 0.7);
  EXPECT_EQ(optimizer(name, {{"weight_decay", 0.3}})->weight_decay(), 0.3);
}

inline double state_bytes_per_element(const optim::State& state, const at::Tensor& weight) {
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : state.tensors) bytes += tensor.nbytes();
  return static_cast<double>(bytes) / static_cast<double>(weight.numel());
}

/// Half of the updates, then the rest once with the same object and once with a new one that was
/// given its state through a checkpoint's tensors: the same bits.
inline void expect_continues(const optim::Optimizer& optimizer, const delay::Correction& correction,
                             const Shape& shape) {
  const Problem problem(shape, true);
  const auto step = [&](engine::ParameterUpdater& updater, std::int64_t k, at::Tensor& weight) {
    updater.apply({.values = problem.gradients[k], .delay = 1, .seen = problem.weight},
                  problem.moment(k), {weight, weight});
  };
  at::Tensor weight = problem.weight.clone();
  engine::ParameterUpdater first(optimizer, correction, 0.1, weight);
  for (std::int64_t k = 0; k < 7; ++k) step(first, k, weight);
  engine::StageState saved;
  first.capture(saved, "updates.", "w");
  at::Tensor again = weight.clone();
  engine::ParameterUpdater second(optimizer, correction, 0.1, again);
  second.restore(saved, "updates.", "w");
  for (std::int64_t k = 7; k < Problem::updates; ++k) {
    step(first, k, weight);
    step(second, k, again);
    ASSERT_TRUE(at::equal(weight, again)) << "update " << k << ", shape " << shape;
  }
}

/// NaN in one element of the gradient is NaN in that element of the update, on both paths.
inline void expect_nan_passes_on(const optim::Optimizer& optimizer) {
  at::Tensor gradient = at::tensor({1.0F, std::numeric_limits<float>::quiet_NaN(), 2.0F});
  const at::Tensor before = gradient.clone();
  optim::State state = optimizer.init(gradient);
  const at::Tensor u = optimizer.update(gradient, state, {.step = 1, .lr = 0.1});
  EXPECT_TRUE(at::equal(u.isnan(), before.isnan()));
  EXPECT_TRUE(at::allclose(gradient, before, 0, 0, true)) << "the gradient was changed";
  at::Tensor weight = at::ones({3});
  const auto none = correction("none");
  engine::ParameterUpdater(optimizer, *none, 0, weight)
      .apply({gradient}, {.step = 1, .lr = 0.1}, {weight, weight});
  EXPECT_TRUE(at::equal(weight.isnan(), before.isnan()));
}

}  // namespace penstock::tests
