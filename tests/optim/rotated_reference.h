#pragma once
// SOAP and basis rotation in double precision, and what their tests share.

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "optim/matrix_runs.h"

namespace penstock::tests {

/// Orthonormal columns of a square matrix by Gram and Schmidt, one after the other, each twice.
inline at::Tensor gram_schmidt(const at::Tensor& matrix) {
  const at::Tensor q = matrix.clone();
  for (std::int64_t j = 0; j < q.size(1); ++j) {
    at::Tensor column = q.select(1, j);
    for (int round = 0; round < 2; ++round) {
      for (std::int64_t i = 0; i < j; ++i) {
        const at::Tensor other = q.select(1, i).clone();
        column.sub_(other * other.dot(column));
      }
    }
    column.div_(column.norm());
  }
  return q;
}

/// An orthogonal matrix, the same for the same name.
inline at::Tensor orthogonal(std::int64_t n, std::string_view name) {
  return gram_schmidt(normal({n, n}, name, 1, at::kDouble));
}

/// One side of the basis.
struct PlainSide {
  at::Tensor average;  // of G G^T
  at::Tensor basis;    // undefined: the identity

  at::Tensor vectors() const {
    return basis.defined() ? basis : at::eye(average.size(0), at::kDouble);
  }

  /// Sorts the basis by the average's quadratic form and improves it by one step; returns where
  /// each new vector's predecessor was.
  std::vector<std::int64_t> refresh() {
    const std::int64_t n = average.size(0);
    std::vector<std::pair<double, std::int64_t>> forms;
    for (std::int64_t j = 0; j < n; ++j) {
      const at::Tensor q = basis.select(1, j);
      forms.emplace_back(-q.dot(average.mv(q)).item<double>(), j);
    }
    std::sort(forms.begin(), forms.end());
    at::Tensor sorted = at::empty_like(basis);
    std::vector<std::int64_t> order;
    for (std::int64_t j = 0; j < n; ++j) {
      order.push_back(forms[static_cast<std::size_t>(j)].second);
      sorted.select(1, j).copy_(basis.select(1, order.back()));
    }
    basis = gram_schmidt(average.matmul(sorted));
    return order;
  }
};

/// How the rules may be got wrong.
struct RotatedRule {
  double beta1 = 0.95;
  double beta2 = 0.95;
  double eps = 1e-8;
  std::int64_t refresh_every = 10;
  bool rotates_left = true;
  bool rotates_right = true;
  bool moves_second_moments = true;
  bool moves_momentum = true;  // SOAP's
  bool eps_after_bias = false;
};

/// What both rules have.
struct PlainRotation {
  RotatedRule rule;
  PlainSide left, right;
  at::Tensor m, v;
  double product1 = 1, product2 = 1;

  void begin(const at::Tensor& g) {
    left.average = at::zeros({g.size(0), g.size(0)}, at::kDouble);
    right.average = at::zeros({g.size(1), g.size(1)}, at::kDouble);
    m = at::zeros_like(g);
    v = at::zeros_like(g);
  }
  void accumulate(const at::Tensor& g) {
    left.average = rule.beta2 * left.average + (1 - rule.beta2) * g.matmul(g.t());
    right.average = rule.beta2 * right.average + (1 - rule.beta2) * g.t().matmul(g);
  }
  /// The basis of the state that is tested: eigenvectors are unique only for distinct eigenvalues.
  /// That they are eigenvectors is rotated_basis_test.cpp's matter.
  void adopt(const optim::State& state) {
    if (rule.rotates_left) left.basis = state.tensors.at("left_basis").to(at::kDouble);
    if (rule.rotates_right) right.basis = state.tensors.at("right_basis").to(at::kDouble);
  }
  void refresh() {
    if (rule.rotates_left) {
      const auto order = left.refresh();
      if (rule.moves_second_moments) v = v.index_select(0, at::tensor(order));
    }
    if (rule.rotates_right) {
      const auto order = right.refresh();
      if (rule.moves_second_moments) v = v.index_select(1, at::tensor(order));
    }
  }
  at::Tensor rotate(const at::Tensor& x) const {
    return left.vectors().t().matmul(x).matmul(right.vectors());
  }
  at::Tensor back(const at::Tensor& x) const {
    return left.vectors().matmul(x).matmul(right.vectors().t());
  }
  /// lr sqrt(bc2) / bc1 x / (sqrt(v) + eps)
  at::Tensor adam(const at::Tensor& x, double lr) {
    product1 *= rule.beta1;
    product2 *= rule.beta2;
    const double bias1 = 1 - product1;
    const double bias2 = 1 - product2;
    if (rule.eps_after_bias) return lr / bias1 * x / ((v / bias2).sqrt() + rule.eps);
    return lr * std::sqrt(bias2) / bias1 * x / (v.sqrt() + rule.eps);
  }
};

/// The largest |P u Q^T - u'| / |u| over the updates, where u' are those of gradients P G Q^T. Both
/// runs start alike, or, with `rotate_state`, after one update from states that are each other's
/// image: the start's eigenvectors are ambiguous where gradients have no full rank.
/// `momentum_is_rotated`: whether m is kept in the rotated basis.
inline double worst_equivariance_error(const optim::Entry& entry, MatrixShape shape,
                                       bool rotate_state, bool momentum_is_rotated) {
  const Threads one(1);
  const at::Tensor p = orthogonal(shape.rows, "P");
  const at::Tensor q = orthogonal(shape.columns, "Q");
  const auto image = [&](const at::Tensor& x) { return p.matmul(x.to(at::kDouble)).matmul(q.t()); };
  const auto optimizer = make(entry);
  optim::State state = optimizer->init(matrix_gradient(shape, 0));
  optim::State other = copy_of(state);
  double worst = 0;
  for (std::int64_t t = 1; t <= matrix_updates; ++t) {
    const optim::UpdateContext context{.step = t, .lr = matrix_lr(t)};
    const at::Tensor gradient = matrix_gradient(shape, t);
    const at::Tensor u = image(optimizer->update(gradient, state, context));
    if (rotate_state && t == 1) {
      const auto set = [&](const char* name, const at::Tensor& value) {
        other.tensors.at(name).copy_(value);
      };
      const auto get = [&](const char* name) { return state.tensors.at(name).to(at::kDouble); };
      other.numbers = state.numbers;
      set("left", p.matmul(get("left")).matmul(p.t()));
      set("right", q.matmul(get("right")).matmul(q.t()));
      set("left_basis", p.matmul(get("left_basis")));
      set("right_basis", q.matmul(get("right_basis")));
      set("m", momentum_is_rotated ? get("m") : image(get("m")));
      set("v", get("v"));
      continue;
    }
    const at::Tensor v =
        optimizer->update(image(gradient).to(at::kFloat), other, context).to(at::kDouble);
    const double size = u.norm().item<double>();
    const double error = (u - v).norm().item<double>();
    worst = std::max(worst, size == 0 ? error : error / size);
  }
  return worst;
}

}  // namespace penstock::tests
