#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "optim/rotated_reference.h"

namespace penstock::optim {
namespace {

using tests::Changes;
using tests::Deviation;
using tests::make;
using tests::MatrixShape;
using tests::RotatedRule;

/// Written down from the paper's algorithm.
class Plain {
 public:
  explicit Plain(const RotatedRule& rule) { plain_.rule = rule; }

  at::Tensor update(const at::Tensor& g, std::int64_t t, double lr, const State& tested) {
    if (t == 1) {
      plain_.begin(g);
      plain_.accumulate(g);
      plain_.adopt(tested);
      return at::zeros_like(g);
    }
    const RotatedRule& rule = plain_.rule;
    const at::Tensor rotated = plain_.rotate(g);
    plain_.m = rule.beta1 * plain_.m + (1 - rule.beta1) * rotated;
    plain_.v = rule.beta2 * plain_.v + (1 - rule.beta2) * rotated * rotated;
    const at::Tensor u = plain_.back(plain_.adam(plain_.m, lr));
    plain_.accumulate(g);
    if ((t - 1) % rule.refresh_every == 0) {
      const at::Tensor momentum = plain_.back(plain_.m);
      plain_.refresh();
      if (rule.moves_momentum) plain_.m = plain_.rotate(momentum);
    }
    return u;
  }

 private:
  tests::PlainRotation plain_;
};

RotatedRule published() { return {}; }

Deviation deviation(const Changes& changes, MatrixShape shape, const RotatedRule& rule) {
  const auto optimizer = make(soap(), changes);
  Plain plain(rule);
  const State* tested = nullptr;
  return tests::compare(
      *optimizer, shape,
      [&](const at::Tensor& g, std::int64_t t, double lr) {
        return plain.update(g, t, lr, *tested);
      },
      2, [&](std::int64_t, const State& state) { tested = &state; });
}

// Two rotations, each with sums of up to 33 products on either side, are off by some 10 roundings,
// and a refreshed basis by as many times the ratio of its eigenvalues, some 100 at most, in the
// smallest of its directions: 20 * 6e-8 and, for a tenth of the directions, 1000 * 6e-8. Wrong
// rules are off by a hundred times that (below).
constexpr double tolerance = 2e-5;

class SoapTest : public testing::TestWithParam<MatrixShape> {};

TEST_P(SoapTest, FollowsTheRule) {
  const auto [first, update, weight] = deviation({}, GetParam(), published());
  EXPECT_EQ(first, 0);
  EXPECT_LT(update, tolerance);
  EXPECT_LT(weight, tolerance);
}

TEST_P(SoapTest, FollowsTheRuleWithOtherOptions) {
  const Changes changes = {
      {"beta1", 0.8}, {"beta2", 0.9}, {"eps", 1e-5}, {"refresh_every", std::int64_t{8}}};
  const RotatedRule rule{.beta1 = 0.8, .beta2 = 0.9, .eps = 1e-5, .refresh_every = 8};
  const auto [first, update, weight] = deviation(changes, GetParam(), rule);
  EXPECT_EQ(first, 0);
  EXPECT_LT(update, tolerance);
  EXPECT_LT(weight, tolerance);
}

TEST_P(SoapTest, DoesNotRotateLongSides) {
  for (const std::int64_t max_dim : {0, 6, 10}) {
    RotatedRule rule = published();
    rule.rotates_left = GetParam().rows <= max_dim;
    rule.rotates_right = GetParam().columns <= max_dim;
    const auto [first, update, weight] = deviation({{"max_dim", max_dim}}, GetParam(), rule);
    EXPECT_EQ(first, 0);
    EXPECT_LT(update, tolerance) << max_dim;
    EXPECT_LT(weight, tolerance) << max_dim;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SoapTest, testing::ValuesIn(tests::matrix_shapes), tests::name_of);

TEST(Soap, TheComparisonSeesWrongRules) {
  constexpr MatrixShape square{16, 16};
  const auto error = [&](auto&& change) {
    RotatedRule rule = published();
    change(rule);
    return deviation({}, square, rule).update;
  };
  EXPECT_GT(error([](RotatedRule& rule) { rule.beta1 -= 0.01; }), 10 * tolerance);
  EXPECT_GT(error([](RotatedRule& rule) { rule.beta2 -= 0.01; }), 10 * tolerance);
  EXPECT_GT(error([](RotatedRule& rule) { rule.eps = 1e-6; }), 10 * tolerance);
  EXPECT_GT(error([](RotatedRule& rule) { rule.refresh_every = 9; }), 10 * tolerance);
  EXPECT_GT(error([](RotatedRule& rule) { rule.rotates_left = false; }), 10 * tolerance);
  EXPECT_GT(error([](RotatedRule& rule) { rule.rotates_right = false; }), 10 * tolerance);
  EXPECT_GT(error([](RotatedRule& rule) { rule.moves_second_moments = false; }), 10 * tolerance);
  EXPECT_GT(error([](RotatedRule& rule) { rule.moves_momentum = false; }), 10 * tolerance);
  EXPECT_GT(error([](RotatedRule& rule) { rule.eps_after_bias = true; }), 2 * tolerance);
}

TEST(Soap, TurnsWithTheGradients) {
  // Two roundings of everything, so twice the tolerance. From the start where gradients
  // have full rank, from images of one state elsewhere.
  EXPECT_LT(tests::worst_equivariance_error(soap(), {8, 8}, false, true), 2 * tolerance);
  for (const auto shape : {MatrixShape{24, 7}, MatrixShape{5, 33}, MatrixShape{16, 16}}) {
    EXPECT_LT(tests::worst_equivariance_error(soap(), shape, true, true), 2 * tolerance);
  }
  EXPECT_GT(tests::worst_equivariance_error(adamw(), {8, 8}, false, false), 0.1);
}

TEST(Soap, DefaultsAndWhatItTakes) {
  const auto optimizer = make(soap());
  EXPECT_EQ(optimizer->peak_lr(), 3e-3);
  EXPECT_EQ(optimizer->peak_momentum(), 0.95);
  EXPECT_EQ(optimizer->weight_decay(), 0.01);
  EXPECT_EQ(make(soap(), {{"lr", 0.7}})->peak_lr(), 0.7);
  EXPECT_TRUE(soap().spec.takes_matrices_only);
}

TEST(Soap, StateIsTwoMomentsAndTwoMatricesForEachSide) {
  const auto bytes = [](std::int64_t max_dim) {
    return tests::tensor_bytes(make(soap(), {{"max_dim", max_dim}})->init(at::zeros({24, 7})));
  };
  EXPECT_EQ(bytes(10000), 8 * 24 * 7 + 8 * 24 * 24 + 8 * 7 * 7);
  EXPECT_EQ(bytes(24), 8 * 24 * 7 + 8 * 24 * 24 + 8 * 7 * 7);
  EXPECT_EQ(bytes(23), 8 * 24 * 7 + 8 * 7 * 7);
  EXPECT_EQ(bytes(0), 8 * 24 * 7);
  tests::expect_size_without_memory(soap());
}

TEST(Soap, ContinuesWithTheSameBits) {
  // between refreshes, right before one and right behind one
  for (const std::int64_t until : {1, 9, 10, 11, 15}) {
    tests::expect_same_bits_after_restoring(soap(), {24, 7}, until);
  }
}

TEST(Soap, PassesNanOnAndKeepsItsTensorsToItself) {
  for (const std::int64_t max_dim : {5, 100}) {
    tests::expect_nan_to_pass(soap(), {{"max_dim", max_dim}}, 2);
  }
  for (const std::int64_t max_dim : {0, 5, 100}) {
    tests::expect_tensors_to_be_apart(soap(), {{"max_dim", max_dim}});
  }
}

TEST(Soap, MomentumComesFromTheSchedule) { tests::expect_momentum_from_context(soap(), "beta1"); }

TEST(Soap, OthersOfTheBatchChangeNothing) { tests::expect_batch_to_change_nothing(soap()); }

TEST(Soap, TheFirstUpdateOnlyLooks) {
  const auto optimizer = make(soap());
  const at::Tensor gradient = tests::matrix_gradient({6, 4}, 1);
  State state = optimizer->init(gradient);
  const at::Tensor u = optimizer->update(gradient, state, {.step = 1, .lr = 0.1});
  EXPECT_TRUE(at::equal(u, at::zeros({6, 4})));
  EXPECT_TRUE(at::equal(state.tensors.at("m"), at::zeros({6, 4})));
  EXPECT_TRUE(at::equal(state.tensors.at("v"), at::zeros({6, 4})));
  EXPECT_EQ(optimizer->keep({.step = 1, .lr = 0.5, .weight_decay = 0.5}), 1);
  EXPECT_EQ(optimizer->keep({.step = 2, .lr = 0.5, .weight_decay = 0.5}), 0.75);
}

TEST(Soap, RefusesOptionsOutOfRange) {
  EXPECT_THROW(make(soap(), {{"beta1", 1.0}}), UserError);
  EXPECT_THROW(make(soap(), {{"eps", 0.0}}), UserError);
  EXPECT_THROW(make(soap(), {{"refresh_every", std::int64_t{0}}}), UserError);
  EXPECT_THROW(make(soap(), {{"max_dim", std::int64_t{-1}}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
