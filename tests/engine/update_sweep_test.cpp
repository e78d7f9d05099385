// One sweep over memory against the same rules tensor by tensor, for every optimizer and every
// correction.

#include "engine/update_sweep.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "optim/trajectory.h"

namespace penstock::engine {
namespace {

using tests::Path;
using tests::Problem;

struct Component {
  const char* name;
  tests::Options options = {};
};

std::ostream& operator<<(std::ostream& out, const Component& c) {
  out << c.name;
  for (const auto& [key, value] : c.options) out << "," << key;
  return out;
}

const std::vector<Component>& optimizers() {
  static const std::vector<Component> all{{"adamw"},
                                          {"sgd"},
                                          {"sgd", {{"decay", std::string("decoupled")}}},
                                          {"sgd", {{"nesterov", true}}},
                                          {"signum"},
                                          {"lion"},
                                          {"nadamw"},
                                          {"adan"},
                                          {"mars"},
                                          {"mars", {{"base", std::string("lion")}}}};
  return all;
}

const std::vector<Component>& corrections() {
  static const std::vector<Component> all{
      {"none"},
      {"error_feedback"},
      {"error_feedback", {{"state", std::string("bf16")}}},
      {"error_feedback", {{"schedule", std::string("linear")}, {"final_lambda", 0.5}}},
      {"weight_prediction"},
      {"dc_asgd"},
      {"dc_asgd", {{"variant", std::string("adaptive")}, {"lambda0", 0.5}}},
      {"staleness_lr"},
      {"pipemare"}};
  return all;
}

/// How the tensors of a run lie.
struct Layout {
  Path path = Path::sweep;
  at::ScalarType seen = at::kFloat;
  bool in_place = false;         // next is newest
  bool next_shows_seen = false;  // as in the slots of 2bw, where the oldest version is overwritten
};

struct Result {
  at::Tensor weights;  // after every update
  std::vector<GroupChange> changes;
  StageState state;
};

/// Gradients were taken one update ago and are clipped. Decay is on.
Result run(const Component& optimizer, const Component& correction, const tests::Shape& shape,
           const Layout& layout) {
  const Problem problem(shape);
  const auto rule = tests::optimizer(optimizer.name, optimizer.options);
  const auto delay = tests::correction(correction.name, correction.options);
  const auto place = [&](const at::Tensor& t) { return tests::laid_out(t, layout.path); };
  at::Tensor newest = place(problem.weight);
  at::Tensor next = layout.in_place ? newest : place(at::full_like(problem.weight, 99));
  at::Tensor seen_values = problem.weight * 1.01;
  ParameterUpdater updater(*rule, *delay, 0.1, newest);
  Result result;
  std::vector<at::Tensor> after;
  for (std::int64_t k = 0; k < Problem::updates; ++k) {
    at::Tensor seen = place(seen_values).to(layout.seen);
    if (layout.next_shows_seen) {
      next.copy_(seen_values);
      seen = next;
    }
    seen_values = newest.contiguous().clone();
    at::Tensor compute = place(at::zeros_like(problem.weight)).to(at::kBFloat16);
    const Gradient gradient{.values = place(problem.gradients[k]),
                            .scale = 0.03 + 0.005 * static_cast<double>(k),
                            .delay = 1 + k % 2,
                            .seen = seen};
    result.changes.push_back(updater.apply(gradient, problem.moment(k),
                                           {.newest = newest, .next = next, .compute = compute}));
    EXPECT_TRUE(at::equal(compute, next.to(at::kBFloat16))) << "the bf16 slot, update " << k;
    if (!layout.in_place) {
      EXPECT_TRUE(at::equal(newest.contiguous(), seen_values)) << "the newest weights were written";
      std::swap(newest, next);
    }
    after.push_back(newest.contiguous().clone());
  }
  result.weights = at::stack(after);
  updater.capture(result.state, "", "w");
  return result;
}

void expect_same_bits(const Result& a, const Result& b, const std::string& what) {
  EXPECT_TRUE(at::equal(a.weights, b.weights)) << what;
  for (const auto& [name, tensor] : a.state.tensors) {
    EXPECT_TRUE(at::equal(tensor, b.state.tensor(name))) << what << ", " << name;
  }
}

std::string text(const Component& optimizer, const Component& correction) {
  return testing::PrintToString(optimizer) + " with " + testing::PrintToString(correction);
}

class UpdateSweepTest : public testing::TestWithParam<std::size_t> {
 protected:
  Component optimizer = optimizers().at(GetParam());
};

// Each way rounds fourteen times to 2^-24 in decay, step and subtraction; the sweep leaves out some
// of these roundings by fused operations. Error feedback and prediction triple the update's share:
// 14 * 5 * 6e-8 = 4e-6 at worst. A gradient that dc_asgd moves by lambda g^2 dW, lambda g^2 < 1,
// hands on errors of dW at that size: twice that.
constexpr double tolerance = 1e-5;
// A last update of up to 2 that is remembered in bf16 may fall on either side of a tie where the
// two ways differ in the last bit of fp32: 2^-8 * 2 in one of the 2107 weights, of norm 46 in all.
constexpr double bf16_tolerance = 1.8e-4;

TEST_P(UpdateSweepTest, IsThePlainCompositionWithEveryCorrection) {
  for (const Component& correction : corrections()) {
    const bool in_bf16 = correction.options.contains("state");
    for (const at::ScalarType seen : {at::kFloat, at::kBFloat16}) {
      const Result sweep = run(optimizer, correction, {7, 301}, {.seen = seen});
      const Result plain =
          run(optimizer, correction, {7, 301}, {.path = Path::tensors, .seen = seen});
      EXPECT_LT(tests::worst_error(sweep.weights, plain.weights),
                in_bf16 ? bf16_tolerance : tolerance)
          << text(optimizer, correction) << ", seen " << seen;
      for (std::size_t k = 0; k < sweep.changes.size(); ++k) {
        // the sample sees the same u, whatever the way
        EXPECT_NEAR(sweep.changes[k].update / plain.changes[k].update, 1, 1e-4) << k;
        EXPECT_NEAR(sweep.changes[k].step / plain.changes[k].step, 1, 1e-3) << k;
        EXPECT_NEAR(sweep.changes[k].weight / plain.changes[k].weight, 1, 1e-4) << k;
        if (k > 0) {
          EXPECT_NEAR(sweep.changes[k].update_change / plain.changes[k].update_change, 1, 1e-3);
        }
      }
    }
  }
}

TEST_P(UpdateSweepTest, EveryCorrectionIsAnotherTrajectory) {
  // so that the comparison above compares something
  const Result none = run(optimizer, {"none"}, {7, 301}, {});
  for (const Component& correction : corrections()) {
    const bool by_gradient = std::string(correction.name) == "dc_asgd";
    const bool signs = std::string(optimizer.name) == "signum" ||
                       std::string(optimizer.name) == "lion" || !optimizer.options.empty();
    if (std::string(correction.name) == "none" || (by_gradient && signs)) continue;
    const Result other = run(optimizer, correction, {7, 301}, {});
    EXPECT_GT(tests::worst_error(other.weights, none.weights), 2 * tolerance)
        << text(optimizer, correction);
  }
}

TEST_P(UpdateSweepTest, SharedTensorsDoNotChangeBits) {
  for (const Component& correction : corrections()) {
    const Result apart = run(optimizer, correction, {1, 1501}, {});
    expect_same_bits(run(optimizer, correction, {1, 1501}, {.in_place = true}), apart,
                     text(optimizer, correction) + ", next is newest");
    expect_same_bits(run(optimizer, correction, {1, 1501}, {.next_shows_seen = true}), apart,
                     text(optimizer, correction) + ", seen is next");
  }
}

TEST_P(UpdateSweepTest, ThreadsDoNotChangeBits) {
  const int before = at::get_num_threads();
  for (const Component& correction : {corrections()[2], corrections()[6]}) {
    std::map<int, Result> results;
    for (const int threads : {1, 2}) {
      at::set_num_threads(threads);
      results[threads] = run(optimizer, correction, {167, 101}, {});
    }
    expect_same_bits(results.at(1), results.at(2), text(optimizer, correction));
  }
  at::set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(Optimizers, UpdateSweepTest,
                         testing::Range<std::size_t>(0, optimizers().size()), [](const auto& test) {
                           return std::string(optimizers().at(test.param).name) + "_" +
                                  std::to_string(test.param);
                         });

TEST(UpdateSweep, SeenWeightsInBf16AreReadAsSuch) {
  const auto end = [](at::ScalarType seen) {
    return run({"adamw"}, {"dc_asgd"}, {7, 301}, {.seen = seen}).weights;
  };
  EXPECT_GT(tests::worst_error(end(at::kBFloat16), end(at::kFloat)), 1e-6);
}

TEST(UpdateSweep, AGradientInBf16IsThatGradient) {
  const Problem problem({7, 301});
  const auto rule = tests::optimizer("adamw");
  const auto none = tests::correction("none");
  const auto after = [&](const at::Tensor& gradient) {
    at::Tensor weight = problem.weight.clone();
    ParameterUpdater(*rule, *none, 0.1, weight)
        .apply({.values = gradient, .scale = 0.5}, problem.moment(0), {weight, weight});
    return weight;
  };
  const at::Tensor rounded = problem.gradients[0].to(at::kBFloat16);
  EXPECT_TRUE(at::equal(after(rounded), after(rounded.to(at::kFloat))));
}

TEST(UpdateSweep, ShowsEveryElementOfTheUpdateOnce) {
  const at::Tensor u = tests::normal({167, 101}, "u").to(at::kFloat);
  const at::Tensor weight = at::ones({167, 101});
  at::Tensor next = at::zeros({167, 101});
  at::Tensor seen = at::zeros({167 * 101});
  at::Tensor visits = at::zeros({167 * 101});
  const WeightPlaces places{.newest = weight, .next = next};
  std::mutex mutex;
  run(UpdateSweep{.u = u,
                  .weights = &places,
                  .keep = 0.5,
                  .watch_update = [&](std::int64_t begin, const float* values, std::int64_t n) {
                    const std::lock_guard lock(mutex);
                    for (std::int64_t i = 0; i < n; ++i) {
                      seen[begin + i] = values[i];
                      visits[begin + i] += 1;
                    }
                  }});
  EXPECT_TRUE(at::equal(seen, u.view({-1})));
  EXPECT_TRUE(at::equal(visits, at::ones_like(visits)));
  EXPECT_TRUE(at::equal(next, 0.5 - u));
}

TEST(UpdateSweep, TheSampleOfALargeParameterIsTheSameOnBothWays) {
  const auto sample = [](Path path) {
    const Result result = run({"sgd"}, {"none"}, {167, 101}, {.path = path});
    return result.state.tensor("sample.previous_update.w");
  };
  const at::Tensor sweep = sample(Path::sweep);
  EXPECT_EQ(sweep.numel(), 4096);
  EXPECT_TRUE(at::allclose(sweep, sample(Path::tensors), 1e-4, 1e-5));
}

TEST(UpdateSweep, TakesContiguousTensorsOfFp32AndBf16) {
  EXPECT_TRUE(sweepable(at::ones({2, 3})));
  EXPECT_TRUE(sweepable(at::ones({2, 3}, at::kBFloat16)));
  EXPECT_FALSE(sweepable(at::ones({2, 3}, at::kDouble)));
  EXPECT_FALSE(sweepable(at::ones({2, 3}).t()));
  EXPECT_FALSE(sweepable(tests::spread(at::ones({2, 3})))) << "or the tests above test nothing";
}

}  // namespace
}  // namespace penstock::engine
