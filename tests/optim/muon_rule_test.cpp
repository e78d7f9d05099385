// Muon's options that the golden trajectories do not have, against the rule in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "optim/matrix_runs.h"

namespace penstock::optim {
namespace {

using tests::Changes;
using tests::compare;
using tests::make;
using tests::MatrixShape;
using tests::PlainRule;

struct Rule {
  double mu = 0.95;
  bool nesterov = true;
  bool polar_express = false;
  int steps = 5;
  std::string scale = "match_rms_adamw";
};

PlainRule plain(const Rule& rule) {
  return [rule, buffer = at::Tensor()](const at::Tensor& g, std::int64_t, double lr) mutable {
    buffer = (buffer.defined() ? rule.mu * buffer : at::zeros_like(g)) + (1 - rule.mu) * g;
    const at::Tensor direction = rule.nesterov ? (1 - rule.mu) * g + rule.mu * buffer : buffer;
    const auto r = static_cast<double>(g.size(0));
    const auto c = static_cast<double>(g.size(1));
    double scale = 0.2 * std::sqrt(std::max(r, c));
    if (rule.scale == "original") scale = r > c ? std::sqrt(r / c) : 1;
    if (rule.scale == "spectral") scale = std::sqrt(r / c);
    return lr * scale * tests::quintic_steps(direction, rule.polar_express, rule.steps);
  };
}

// Newton-Schulz amplifies the noise of its input (some 4 roundings) by up to 485, with Polar
// Express by 970 and 2.35 more for every step after the fifth
// (tests/kernels/newton_schulz_test.cpp), in the directions of the smallest singular values; the
// result's norm is 0.7 or more of its rank's.
constexpr double classic_tolerance = 4 * 485 * tests::fp32_rounding / 0.7;
constexpr double polar_tolerance = 4 * 970 * 2.35 * 2.35 * tests::fp32_rounding / 0.7;

class MuonRuleTest : public testing::TestWithParam<MatrixShape> {};

TEST_P(MuonRuleTest, FollowsTheRule) {
  for (const std::string scale : {"original", "match_rms_adamw", "spectral"}) {
    for (const bool nesterov : {true, false}) {
      const auto muon = make(optim::muon(), {{"scale", scale}, {"nesterov", nesterov}});
      const auto deviation =
          compare(*muon, GetParam(), plain({.nesterov = nesterov, .scale = scale}));
      EXPECT_LT(std::max(deviation.first, deviation.update), classic_tolerance)
          << scale << nesterov;
      EXPECT_LT(deviation.weight, classic_tolerance) << scale << nesterov;
    }
  }
}

TEST_P(MuonRuleTest, FollowsPolarExpressWithAnyNumberOfSteps) {
  for (const std::int64_t steps : {1, 5, 7}) {
    const auto muon = make(optim::muon(), {{"ns_coefficients", std::string("polar_express")},
                                           {"ns_steps", steps},
                                           {"momentum", 0.9}});
    const Rule rule{.mu = 0.9, .polar_express = true, .steps = static_cast<int>(steps)};
    const auto deviation = compare(*muon, GetParam(), plain(rule));
    EXPECT_LT(std::max(deviation.first, deviation.update), polar_tolerance) << steps;
    EXPECT_LT(deviation.weight, polar_tolerance) << steps;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, MuonRuleTest, testing::ValuesIn(tests::matrix_shapes),
                         tests::name_of);

TEST(MuonRule, TheComparisonSeesWrongRules) {
  const auto muon = make(optim::muon());
  constexpr MatrixShape tall{24, 7};
  for (const Rule& wrong : {Rule{.mu = 0.94}, Rule{.nesterov = false}, Rule{.polar_express = true},
                            Rule{.steps = 6}, Rule{.scale = "spectral"}}) {
    EXPECT_GT(compare(*muon, tall, plain(wrong)).update, 5e-3);
  }
  EXPECT_GT(compare(*muon, tall, plain({}), 2).weight, 1e-3) << "decay from the second update on";
}

TEST(MuonRule, ContinuesWithTheSameBits) {
  for (const std::string precision : {"fp32", "bf16"}) {
    tests::expect_same_bits_after_restoring(optim::muon(), {24, 7}, 12,
                                            {{"ns_precision", precision}});
  }
}

TEST(MuonRule, PassesNanOnAndKeepsItsTensorsToItself) {
  for (const bool nesterov : {true, false}) {
    tests::expect_nan_to_pass(optim::muon(), {{"nesterov", nesterov}});
    tests::expect_tensors_to_be_apart(optim::muon(), {{"nesterov", nesterov}});
  }
}

TEST(MuonRule, OthersOfTheBatchChangeNothing) {
  tests::expect_batch_to_change_nothing(optim::muon());
  tests::expect_batch_to_change_nothing(optim::muon(), {{"ns_precision", std::string("bf16")}});
}

TEST(MuonRule, MomentumComesFromTheSchedule) {
  tests::expect_momentum_from_context(optim::muon(), "momentum");
}

TEST(MuonRule, ItsSizeIsKnownWithoutMemory) { tests::expect_size_without_memory(optim::muon()); }

TEST(MuonRule, RefusesNoStepsAndUnknownCoefficients) {
  EXPECT_THROW(make(optim::muon(), {{"ns_steps", std::int64_t{0}}}), UserError);
  EXPECT_THROW(make(optim::muon(), {{"ns_coefficients", std::string("quintic")}}), UserError);
  EXPECT_THROW(make(optim::muon(), {{"ns_precision", std::string("fp16")}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
