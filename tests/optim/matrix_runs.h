#pragma once
// What the tests of optimizers for matrices share: gradients, learning rates, and references in
// double precision that are written down as plainly as possible.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "kernels/helpers.h"
#include "optim/registry.h"

namespace penstock::tests {

using Changes = std::map<std::string, config::Value>;

/// The entry's optimizer with its defaults, some changed.
inline optim::OptimizerPtr make(const optim::Entry& entry, const Changes& changes = {}) {
  config::ComponentConfig component{entry.spec.name, {}};
  for (const auto& option : entry.spec.options) {
    component.options[option.key] = option.default_value.value();
  }
  for (const auto& [key, value] : changes) component.options.at(key) = value;
  return entry.make(component);
}

struct MatrixShape {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

inline std::string name_of(const testing::TestParamInfo<MatrixShape>& info) {
  return std::to_string(info.param.rows) + "x" + std::to_string(info.param.columns);
}

/// Tall, wide, square, one row, one column.
constexpr std::array<MatrixShape, 5> matrix_shapes = {{{24, 7}, {5, 33}, {16, 16}, {1, 6}, {6, 1}}};
constexpr std::int64_t matrix_updates = 25;

/// Of the size that gradients have; sizes differ by up to three between updates, and there is a
/// part that stays the same.
inline at::Tensor matrix_gradient(MatrixShape shape, std::int64_t update) {
  const double size = 1e-4 * (1 + static_cast<double>((5 * update) % 7) / 3);
  const at::Tensor lasting = normal({shape.rows, shape.columns}, "lasting", 0.5, at::kDouble);
  const at::Tensor fresh =
      normal({shape.rows, shape.columns}, "gradient " + std::to_string(update), 1, at::kDouble);
  return (size * (lasting + fresh)).to(at::kFloat);
}

/// Different in every update; `update` counts from 1.
inline double matrix_lr(std::int64_t update) {
  return 0.01 * (1 + 0.5 * std::sin(static_cast<double>(update)));
}

/// W <- keep W - u with a decay of 0.1, in fp32, as the engine does it. Returns W after each
/// update. `watch` is shown u and the state of every update.
inline std::vector<at::Tensor> run_matrix(
    const optim::Optimizer& optimizer, MatrixShape shape,
    const std::function<void(std::int64_t, const at::Tensor&, optim::State&)>& watch = {}) {
  const Threads one(1);  // decompositions of small matrices are slow on more
  at::Tensor weight = normal({shape.rows, shape.columns}, "weight");
  optim::State state = optimizer.init(weight);
  std::vector<at::Tensor> after;
  for (std::int64_t t = 1; t <= matrix_updates; ++t) {
    const optim::UpdateContext context{.step = t, .lr = matrix_lr(t), .weight_decay = 0.1};
    const at::Tensor u = optimizer.update(matrix_gradient(shape, t), state, context);
    weight = weight * optimizer.keep(context) - u;
    after.push_back(weight);
    if (watch) watch(t, u, state);
  }
  return after;
}

/// The same for a rule that is given gradients in double and returns its update.
using PlainRule = std::function<at::Tensor(const at::Tensor& gradient, std::int64_t t, double lr)>;

/// The largest differences, relative in the Euclidean norm.
struct Deviation {
  double first = 0;   // of the first update
  double update = 0;  // of all others
  double weight = 0;  // of the weights, relative to their way from the start
};

/// Compares an optimizer's updates and weights with a plain rule's, which decays weights first,
/// from the update `decays_from` on. `before_rule` is shown the state after every update of the
/// optimizer.
inline Deviation compare(const optim::Optimizer& optimizer, MatrixShape shape,
                         const PlainRule& rule, std::int64_t decays_from = 1,
                         const std::function<void(std::int64_t, optim::State&)>& before_rule = {}) {
  const at::Tensor start = normal({shape.rows, shape.columns}, "weight").to(at::kDouble);
  at::Tensor expected = start;
  Deviation worst;
  std::vector<at::Tensor> weights;
  const auto after =
      run_matrix(optimizer, shape, [&](std::int64_t t, const at::Tensor& u, optim::State& state) {
        if (before_rule) before_rule(t, state);
        const double lr = matrix_lr(t);
        const at::Tensor plain = rule(matrix_gradient(shape, t).to(at::kDouble), t, lr);
        if (t >= decays_from) expected = expected - lr * 0.1 * expected;
        expected = expected - plain;
        weights.push_back(expected);
        const double size = plain.norm().item<double>();
        const double error = (u.to(at::kDouble) - plain).norm().item<double>();
        double& deviation = t == 1 ? worst.first : worst.update;
        deviation = std::max(deviation, size == 0 ? error : error / size);
      });
  for (std::size_t i = 0; i < after.size(); ++i) {
    const double way = (weights[i] - start).norm().item<double>();
    const double error = (after[i].to(at::kDouble) - weights[i]).norm().item<double>();
    // Two roundings of the weights in every update.
    const double roundings =
        2 * static_cast<double>(i + 1) * fp32_rounding * start.norm().item<double>();
    worst.weight = std::max(worst.weight, std::max(0.0, error - roundings) / std::max(way, 1e-30));
  }
  return worst;
}

/// What k steps of x <- a x + b x^3 + c x^5 make of singular values, through their decomposition.
inline at::Tensor quintic_steps(const at::Tensor& matrix, bool polar_express = false,
                                int steps = 5) {
  const double best[5][3] = {
      {8.156554524902461, -22.48329292557795, 15.878769915207462},
      {4.042929935166739, -2.808917465908714, 0.5000178451051316},
      {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
      {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
      {2.3465413258596377, -1.7097828382687081, 0.42323551169305323},
  };
  const double norm = matrix.norm().item<double>();
  auto [u, s, vh] =
      at::linalg_svd(matrix / (polar_express ? 1.02 * norm + 1e-6 : norm + 1e-7), false);
  for (int step = 0; step < steps; ++step) {
    const auto* t = best[std::min(step, 4)];
    s = polar_express ? t[0] * s + t[1] * s.pow(3) + t[2] * s.pow(5)
                      : 3.4445 * s - 4.7750 * s.pow(3) + 2.0315 * s.pow(5);
  }
  return at::matmul(u * s, vh);
}

/// A state that shares no memory with `state`.
inline optim::State copy_of(const optim::State& state) {
  optim::State copy = state;
  for (auto& [name, tensor] : copy.tensors) tensor = tensor.clone();
  return copy;
}

inline std::int64_t tensor_bytes(const optim::State& state) {
  std::int64_t bytes = 0;
  for (const auto& [name, tensor] : state.tensors) {
    bytes += static_cast<std::int64_t>(tensor.nbytes());
  }
  return bytes;
}

/// Stops after `until` updates, copies the state, and goes on with both.
inline void expect_same_bits_after_restoring(const optim::Entry& entry, MatrixShape shape,
                                             std::int64_t until, const Changes& changes = {}) {
  const Threads one(1);
  const auto first = make(entry, changes);
  const auto second = make(entry, changes);
  optim::State state = first->init(matrix_gradient(shape, 0));
  const auto context = [](std::int64_t t) {
    return optim::UpdateContext{.step = t, .lr = matrix_lr(t), .weight_decay = 0.1};
  };
  for (std::int64_t t = 1; t <= until; ++t) {
    first->update(matrix_gradient(shape, t), state, context(t));
  }
  optim::State saved = copy_of(state);
  // What a checkpoint restores into: a fresh state that has all the names.
  optim::State fresh = second->init(matrix_gradient(shape, 0));
  for (const auto& [name, tensor] : saved.tensors) fresh.tensors.at(name).copy_(tensor);
  for (const auto& [name, number] : saved.numbers) fresh.numbers.at(name) = number;
  for (std::int64_t t = until + 1; t <= matrix_updates; ++t) {
    const at::Tensor gradient = matrix_gradient(shape, t);
    EXPECT_TRUE(same_bits(second->update(gradient, fresh, context(t)),
                          first->update(gradient, state, context(t))))
        << "update " << t;
  }
}

/// One NaN, in the first update and in later ones: nothing throws, updates hold NaN from then on
/// (but not before `first_move`, the first update that is not zero), and the gradient stays as it
/// is.
inline void expect_nan_to_pass(const optim::Entry& entry, const Changes& changes = {},
                               std::int64_t first_move = 1) {
  const Threads one(1);
  constexpr MatrixShape shape{6, 4};
  for (const std::int64_t poisoned : {1, 5, 12}) {
    const auto optimizer = make(entry, changes);
    optim::State state = optimizer->init(matrix_gradient(shape, 0));
    for (std::int64_t t = 1; t <= matrix_updates; ++t) {
      const at::Tensor gradient = matrix_gradient(shape, t);
      if (t == poisoned) gradient[2][3] = std::numeric_limits<float>::quiet_NaN();
      const at::Tensor before = gradient.clone();
      const at::Tensor u = optimizer->update(gradient, state, {.step = t, .lr = 0.1});
      EXPECT_TRUE(same_bits(gradient, before)) << "update " << t;
      EXPECT_EQ(u.isnan().any().item<bool>(), t >= std::max(poisoned, first_move))
          << "update " << t << ", NaN in " << poisoned;
    }
  }
}

/// A momentum in the context counts for the option `key`.
inline void expect_momentum_from_context(const optim::Entry& entry, const std::string& key,
                                         const Changes& changes = {}) {
  const Threads one(1);
  constexpr MatrixShape shape{6, 4};
  Changes with_option = changes;
  with_option[key] = 0.7;
  const auto expected = make(entry, with_option);
  const auto actual = make(entry, changes);
  EXPECT_EQ(expected->peak_momentum(), 0.7);
  optim::State expected_state = expected->init(matrix_gradient(shape, 0));
  optim::State actual_state = copy_of(expected_state);
  optim::State other_state = copy_of(expected_state);
  bool differs = false;
  for (std::int64_t t = 1; t <= 12; ++t) {
    const at::Tensor gradient = matrix_gradient(shape, t);
    const at::Tensor u = expected->update(gradient, expected_state, {.step = t, .lr = 0.1});
    EXPECT_TRUE(same_bits(
        actual->update(gradient, actual_state, {.step = t, .lr = 0.1, .momentum = 0.7}), u));
    differs =
        differs || !same_bits(actual->update(gradient, other_state, {.step = t, .lr = 0.1}), u);
  }
  EXPECT_TRUE(differs);
}

/// init() of a tensor without memory tells the same names and bytes.
inline void expect_size_without_memory(const optim::Entry& entry) {
  const Threads one(1);
  const auto optimizer = make(entry);
  const optim::State real = optimizer->init(at::zeros({6, 4}));
  const optim::State meta =
      optimizer->init(at::empty({6, 4}, at::TensorOptions(at::kMeta).dtype(at::kFloat)));
  EXPECT_EQ(tensor_bytes(meta), tensor_bytes(real));
  EXPECT_EQ(meta.numbers, real.numbers);
  for (const auto& [name, tensor] : meta.tensors) {
    EXPECT_TRUE(tensor.is_meta()) << name;
    EXPECT_EQ(tensor.sizes(), real.tensors.at(name).sizes()) << name;
  }
}

/// The gradient is read only, and the returned update is the caller's.
inline void expect_tensors_to_be_apart(const optim::Entry& entry, const Changes& changes = {}) {
  const Threads one(1);
  constexpr MatrixShape shape{6, 4};
  const auto optimizer = make(entry, changes);
  optim::State state = optimizer->init(matrix_gradient(shape, 0));
  for (std::int64_t t = 1; t <= 12; ++t) {
    const at::Tensor gradient = matrix_gradient(shape, t);
    const at::Tensor before = gradient.clone();
    at::Tensor u = optimizer->update(gradient, state, {.step = t, .lr = 0.1});
    EXPECT_TRUE(same_bits(gradient, before));
    const optim::State kept = copy_of(state);
    u.fill_(7);
    for (const auto& [name, tensor] : state.tensors) {
      EXPECT_TRUE(same_bits(tensor, kept.tensors.at(name))) << name;
    }
    EXPECT_TRUE(same_bits(gradient, before));
  }
}

/// update_batch() gives the bits of update().
inline void expect_batch_to_change_nothing(const optim::Entry& entry, const Changes& changes = {}) {
  const Threads one(1);
  constexpr MatrixShape shape{9, 5};
  const auto optimizer = make(entry, changes);
  std::vector<optim::State> together(3), alone(3);
  for (std::size_t i = 0; i < 3; ++i) {
    together[i] = optimizer->init(matrix_gradient(shape, 0));
    alone[i] = optimizer->init(matrix_gradient(shape, 0));
  }
  for (std::int64_t t = 1; t <= 12; ++t) {
    const optim::UpdateContext context{.step = t, .lr = 0.1};
    std::vector<at::Tensor> gradients;
    std::vector<optim::State*> states;
    for (std::size_t i = 0; i < 3; ++i) {
      gradients.push_back(matrix_gradient(shape, 100 * static_cast<std::int64_t>(i) + t));
      states.push_back(&together[i]);
    }
    const auto updates = optimizer->update_batch(gradients, states, context);
    ASSERT_EQ(updates.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(same_bits(updates[i], optimizer->update(gradients[i], alone[i], context)));
    }
  }
}

}  // namespace penstock::tests
