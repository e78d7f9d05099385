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
    const RotatedRule& rule = plain_.rule;
    if (t == 1) plain_.begin(g);
    plain_.accumulate(g);
    if (t == 1) plain_.adopt(tested);
    if (t > 1 && t % rule.refresh_every == 0) plain_.refresh();
    plain_.m = rule.beta1 * plain_.m + (1 - rule.beta1) * g;
    const at::Tensor rotated = plain_.rotate(g);
    plain_.v = rule.beta2 * plain_.v + (1 - rule.beta2) * rotated * rotated;
    return plain_.back(plain_.adam(plain_.rotate(plain_.m), lr));
  }

 private:
  tests::PlainRotation plain_;
};

RotatedRule published() { return {.beta1 = 0.9, .beta2 = 0.999}; }

Deviation deviation(const Changes& changes, MatrixShape shape, const RotatedRule& rule) {
  const auto optimizer = make(basis_rotation(), changes);
  Plain plain(rule);
  const State* tested = nullptr;
  return tests::compare(
      *optimizer, shape,
      [&](const at::Tensor& g, std::int64_t t, double lr) {
        return plain.update(g, t, lr, *tested);
      },
      1, [&](std::int64_t, const State& state) { tested = &state; });
}

// Two rotations, each with sums of up to 33 products on either side, are off by some 10 roundings,
// and a refreshed basis by as many times the ratio of its eigenvalues, some 100 at most, in the
// smallest of its directions: 20 * 6e-8 and, for a tenth of the directions, 1000 * 6e-8. Wrong
// rules are off by a hundred times that (below).
constexpr double tolerance = 2e-5;

// The first rotated gradient is diagonal but for rounding errors: some 1e-6 of it, since the basis
// has them too. They are divided by eps, and not by a root of their own size, only because eps is a
// ten-thousandth of a gradient's 1e-4; so m = 0.1 * 1e-6 * 1e-4 makes 1e-3, and bias corrections a
// third of it. It is the first part of the weights' way.
constexpr double first_tolerance = 1e-3;

class BasisRotationTest : public testing::TestWithParam<MatrixShape> {};

TEST_P(BasisRotationTest, FollowsTheRule) {
  const auto [first, update, weight] = deviation({}, GetParam(), published());
  EXPECT_LT(first, first_tolerance);
  EXPECT_LT(update, tolerance);
  EXPECT_LT(weight, first_tolerance);
}

TEST_P(BasisRotationTest, FollowsTheRuleWithOtherOptions) {
  const Changes changes = {
      {"beta1", 0.8}, {"beta2", 0.9}, {"eps", 1e-5}, {"refresh_every", std::int64_t{8}}};
  const RotatedRule rule{.beta1 = 0.8, .beta2 = 0.9, .eps = 1e-5, .refresh_every = 8};
  const auto [first, update, weight] = deviation(changes, GetParam(), rule);
  EXPECT_LT(first, first_tolerance);
  EXPECT_LT(update, tolerance);
  EXPECT_LT(weight, first_tolerance);
}

TEST_P(BasisRotationTest, DoesNotRotateLongSides) {
  for (const std::int64_t max_dim : {0, 6, 10}) {
    RotatedRule rule = published();
    rule.rotates_left = GetParam().rows <= max_dim;
    rule.rotates_right = GetParam().columns <= max_dim;
    const auto [first, update, weight] = deviation({{"max_dim", max_dim}}, GetParam(), rule);
    EXPECT_LT(first, first_tolerance);
    EXPECT_LT(update, tolerance) << max_dim;
    EXPECT_LT(weight, first_tolerance) << max_dim;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, BasisRotationTest, testing::ValuesIn(tests::matrix_shapes),
                         tests::name_of);

TEST(BasisRotation, TheComparisonSeesWrongRules) {
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
  EXPECT_GT(error([](RotatedRule& rule) { rule.eps_after_bias = true; }), 2 * tolerance);
}

TEST(BasisRotation, TurnsWithTheGradients) {
  // Two roundings of everything, so twice the tolerance. From images of one state, and from the
  // start where gradients have full rank: with the first update's noise, which is larger here, as
  // the smallest of 8 singular values is a hundredth of the largest and its vectors are as
  // inexact.
  EXPECT_LT(tests::worst_equivariance_error(basis_rotation(), {8, 8}, false, false),
            10 * first_tolerance);
  for (const auto shape : {MatrixShape{24, 7}, MatrixShape{5, 33}, MatrixShape{16, 16}}) {
    EXPECT_LT(tests::worst_equivariance_error(basis_rotation(), shape, true, false), 2 * tolerance);
  }
  EXPECT_GT(tests::worst_equivariance_error(adamw(), {8, 8}, false, false), 0.1);
}

TEST(BasisRotation, DefaultsAndWhatItTakes) {
  const auto optimizer = make(basis_rotation());
  EXPECT_EQ(optimizer->peak_lr(), 1e-3);
  EXPECT_EQ(optimizer->peak_momentum(), 0.9);
  EXPECT_EQ(optimizer->weight_decay(), 0.01);
  EXPECT_EQ(make(basis_rotation(), {{"lr", 0.7}})->peak_lr(), 0.7);
  EXPECT_TRUE(basis_rotation().spec.takes_matrices_only);
}

TEST(BasisRotation, StateIsTwoMomentsAndTwoMatricesForEachSide) {
  const auto bytes = [](std::int64_t max_dim) {
    return tests::tensor_bytes(
        make(basis_rotation(), {{"max_dim", max_dim}})->init(at::zeros({24, 7})));
  };
  EXPECT_EQ(bytes(10000), 8 * 24 * 7 + 8 * 24 * 24 + 8 * 7 * 7);
  EXPECT_EQ(bytes(24), 8 * 24 * 7 + 8 * 24 * 24 + 8 * 7 * 7);
  EXPECT_EQ(bytes(23), 8 * 24 * 7 + 8 * 7 * 7);
  EXPECT_EQ(bytes(0), 8 * 24 * 7);
  tests::expect_size_without_memory(basis_rotation());
}

TEST(BasisRotation, ContinuesWithTheSameBits) {
  // between refreshes, right before one and right behind one
  for (const std::int64_t until : {1, 9, 10, 11, 15}) {
    tests::expect_same_bits_after_restoring(basis_rotation(), {24, 7}, until);
  }
}

TEST(BasisRotation, PassesNanOnAndKeepsItsTensorsToItself) {
  for (const std::int64_t max_dim : {5, 100}) {
    tests::expect_nan_to_pass(basis_rotation(), {{"max_dim", max_dim}});
  }
  for (const std::int64_t max_dim : {0, 5, 100}) {
    tests::expect_tensors_to_be_apart(basis_rotation(), {{"max_dim", max_dim}});
  }
}

TEST(BasisRotation, MomentumComesFromTheSchedule) {
  tests::expect_momentum_from_context(basis_rotation(), "beta1");
}

TEST(BasisRotation, OthersOfTheBatchChangeNothing) {
  tests::expect_batch_to_change_nothing(basis_rotation());
}

TEST(BasisRotation, RefusesOptionsOutOfRange) {
  EXPECT_THROW(make(basis_rotation(), {{"beta1", 1.0}}), UserError);
  EXPECT_THROW(make(basis_rotation(), {{"eps", 0.0}}), UserError);
  EXPECT_THROW(make(basis_rotation(), {{"refresh_every", std::int64_t{0}}}), UserError);
  EXPECT_THROW(make(basis_rotation(), {{"max_dim", std::int64_t{-1}}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
