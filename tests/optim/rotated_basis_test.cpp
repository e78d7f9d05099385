#include "optim/rotated_basis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "optim/rotated_reference.h"

namespace penstock::optim {
namespace {

using tests::fp32_rounding;
using tests::matrix_gradient;
using tests::MatrixShape;

constexpr std::int64_t any_size = 1000;

State state_of(MatrixShape shape, std::int64_t max_dim = any_size) {
  State state;
  RotatedBasis::init(state, at::zeros({shape.rows, shape.columns}), max_dim);
  return state;
}

at::Tensor in_double(const State& state, const char* name) {
  return state.tensors.at(name).to(at::kDouble);
}

double distance_from_orthogonal(const at::Tensor& q) {
  return (q.t().matmul(q) - at::eye(q.size(1), at::kDouble)).norm().item<double>();
}

class RotatedBasisTest : public testing::TestWithParam<MatrixShape> {};

TEST_P(RotatedBasisTest, AveragesAreThoseOfBothProducts) {
  State state = state_of(GetParam());
  tests::PlainRotation plain;
  plain.begin(matrix_gradient(GetParam(), 0).to(at::kDouble));
  plain.rule.beta2 = 0.8;
  for (std::int64_t t = 1; t <= 12; ++t) {
    RotatedBasis(state).accumulate(matrix_gradient(GetParam(), t), 0.8);
    plain.accumulate(matrix_gradient(GetParam(), t).to(at::kDouble));
  }
  // Sums of up to 33 products, and three roundings of each of the last updates.
  constexpr double tolerance = 40 * fp32_rounding;
  EXPECT_LT(tests::norm_error(state.tensors.at("left"), plain.left.average), tolerance);
  EXPECT_LT(tests::norm_error(state.tensors.at("right"), plain.right.average), tolerance);
}

TEST_P(RotatedBasisTest, StartsWithEigenvectorsTheLargestFirst) {
  State state = state_of(GetParam());
  RotatedBasis basis(state);
  basis.accumulate(matrix_gradient(GetParam(), 1), 0.95);
  basis.start();
  for (const auto& [average, vectors] :
       {std::pair("left", "left_basis"), std::pair("right", "right_basis")}) {
    const at::Tensor a = in_double(state, average);
    const at::Tensor q = in_double(state, vectors);
    const auto n = static_cast<double>(q.size(0));
    // LAPACK promises a small multiple of n roundings.
    EXPECT_LT(distance_from_orthogonal(q), 10 * n * fp32_rounding);
    const at::Tensor form = q.t().matmul(a).matmul(q);
    const at::Tensor diagonal = form.diagonal();
    const double size = a.norm().item<double>();
    EXPECT_LT((form - at::diag(diagonal)).norm().item<double>(), 10 * n * fp32_rounding * size);
    for (std::int64_t i = 1; i < q.size(0); ++i) {
      EXPECT_GE(diagonal[i - 1].item<double>(),
                diagonal[i].item<double>() - 10 * n * fp32_rounding * size);
    }
  }
}

TEST_P(RotatedBasisTest, RotatingBackUndoesRotating) {
  State state = state_of(GetParam());
  RotatedBasis basis(state);
  for (std::int64_t t = 1; t <= 40; ++t) basis.accumulate(matrix_gradient(GetParam(), t), 0.95);
  basis.start();
  const at::Tensor x = tests::normal({GetParam().rows, GetParam().columns}, "x");
  const at::Tensor rotated = basis.rotate(x);
  EXPECT_LT(tests::norm_error(rotated, in_double(state, "left_basis")
                                           .t()
                                           .matmul(x.to(at::kDouble))
                                           .matmul(in_double(state, "right_basis"))),
            40 * fp32_rounding);
  EXPECT_LT(tests::norm_error(basis.rotate_back(rotated), x.to(at::kDouble)), 400 * fp32_rounding);
}

TEST_P(RotatedBasisTest, RefreshingSortsAndKeepsItOrthogonal) {
  State state = state_of(GetParam());
  RotatedBasis basis(state);
  for (std::int64_t t = 1; t <= 40; ++t) basis.accumulate(matrix_gradient(GetParam(), t), 0.95);
  const auto [rows, columns] = GetParam();
  const at::Tensor left = tests::orthogonal(rows, "left");
  const at::Tensor right = tests::orthogonal(columns, "right");
  state.tensors.at("left_basis").copy_(left);
  state.tensors.at("right_basis").copy_(right);
  tests::PlainRotation plain;
  plain.left = {in_double(state, "left"), left};
  plain.right = {in_double(state, "right"), right};
  plain.v = at::arange(rows * columns, at::kDouble).reshape({rows, columns});
  at::Tensor by_axis = plain.v.to(at::kFloat);
  plain.refresh();
  basis.refresh(by_axis);
  EXPECT_TRUE(at::equal(by_axis.to(at::kDouble), plain.v));
  // Vectors are unique but for their sign. A product's error, n roundings of the largest
  // eigenvalue, counts against the smallest: up to a few thousand times it.
  const auto same = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a * b).sum(0).abs() - 1).abs().max().item<double>() < 1e-4;
  };
  EXPECT_TRUE(same(in_double(state, "left_basis"), plain.left.basis));
  EXPECT_TRUE(same(in_double(state, "right_basis"), plain.right.basis));
}

TEST_P(RotatedBasisTest, RefreshesConvergeToTheEigenvectors) {
  State state = state_of(GetParam());
  RotatedBasis basis(state);
  for (std::int64_t t = 1; t <= 40; ++t) basis.accumulate(matrix_gradient(GetParam(), t), 0.95);
  const auto [rows, columns] = GetParam();
  state.tensors.at("left_basis").copy_(tests::orthogonal(rows, "left"));
  state.tensors.at("right_basis").copy_(tests::orthogonal(columns, "right"));
  const auto off_diagonal = [&](const char* average, const char* vectors) {
    const at::Tensor q = in_double(state, vectors);
    const at::Tensor form = q.t().matmul(in_double(state, average)).matmul(q);
    return ((form - at::diag(form.diagonal())).norm() / form.norm()).item<double>();
  };
  const double before = off_diagonal("left", "left_basis") + off_diagonal("right", "right_basis");
  at::Tensor by_axis = at::zeros({rows, columns});
  for (int i = 0; i < 60; ++i) basis.refresh(by_axis);
  const double after = off_diagonal("left", "left_basis") + off_diagonal("right", "right_basis");
  EXPECT_LE(after, 0.05 * before);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RotatedBasisTest, testing::ValuesIn(tests::matrix_shapes),
                         tests::name_of);

TEST(RotatedBasis, ALongSideIsNotRotated) {
  State state = state_of({24, 7}, 7);
  EXPECT_EQ(state.tensors.count("left"), 0U);
  EXPECT_EQ(state.tensors.count("left_basis"), 0U);
  EXPECT_EQ(state.tensors.at("right_basis").sizes(), (std::vector<std::int64_t>{7, 7}));
  RotatedBasis basis(state);
  basis.accumulate(matrix_gradient({24, 7}, 1), 0.95);
  basis.start();
  const at::Tensor x = matrix_gradient({24, 7}, 2);
  EXPECT_TRUE(at::equal(basis.rotate(x), at::mm(x, state.tensors.at("right_basis"))));
  State none = state_of({24, 7}, 6);
  EXPECT_TRUE(none.tensors.empty());
  EXPECT_TRUE(at::equal(RotatedBasis(none).rotate_back(x), x));
}

TEST(RotatedBasis, WhatIsNotFiniteMakesNanAndThrowsNothing) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    State state = state_of({6, 4});
    RotatedBasis basis(state);
    at::Tensor gradient = matrix_gradient({6, 4}, 1);
    gradient[5][1] = bad;
    basis.accumulate(gradient, 0.95);
    basis.start();
    at::Tensor by_axis = at::zeros({6, 4});
    basis.refresh(by_axis);
    EXPECT_TRUE(state.tensors.at("left_basis").isnan().all().item<bool>());
    EXPECT_TRUE(state.tensors.at("right_basis").isnan().all().item<bool>());
  }
}

TEST(RotatedBasis, GradientsOfZeroMakeAnOrthogonalBasis) {
  State state = state_of({6, 4});
  RotatedBasis basis(state);
  basis.accumulate(at::zeros({6, 4}), 0.95);
  basis.start();
  at::Tensor by_axis = at::zeros({6, 4});
  basis.refresh(by_axis);
  EXPECT_LT(distance_from_orthogonal(in_double(state, "left_basis")), 1e-5);
  EXPECT_LT(distance_from_orthogonal(in_double(state, "right_basis")), 1e-5);
}

}  // namespace
}  // namespace penstock::optim
