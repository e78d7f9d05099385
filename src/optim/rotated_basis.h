#pragma once
// The rotated basis in which SOAP and basis rotation run Adam: for a weight W [r, c] the
// eigenvectors of averages of G G^T and G^T G.

#include <ATen/ATen.h>

#include <cstdint>

#include "optim/optimizer.h"

namespace penstock::optim {

/// A view of a parameter's state. Each side of the matrix has an average ("left" [r, r] of G G^T,
/// "right" [c, c] of G^T G) and an orthogonal basis ("left_basis", "right_basis", a vector in each
/// column). A side longer than `max_dim` has neither: it is not rotated. Averages or gradients that
/// are not finite make bases of NaN. Used by one thread.
class RotatedBasis {
 public:
  /// Adds zeros for the averages and bases of a weight of this shape; start() has to follow.
  static void init(State& state, const at::Tensor& weight, std::int64_t max_dim);

  explicit RotatedBasis(State& state);

  /// average <- beta average + (1 - beta) G G^T, and of the other side.
  void accumulate(const at::Tensor& gradient, double beta);

  /// The bases become the averages' eigenvectors, that of the largest eigenvalue first.
  void start();

  /// One step of orthogonal iteration: Q <- QR(A Q) for the average A, with the columns of Q sorted
  /// first, by q^T A q, the largest first. Rows and columns of `by_axis`, [r, c] in the rotated
  /// basis, move with them.
  void refresh(at::Tensor& by_axis);

  /// Q_left^T x Q_right.
  at::Tensor rotate(const at::Tensor& x) const;
  /// Q_left x Q_right^T.
  at::Tensor rotate_back(const at::Tensor& x) const;

 private:
  struct Side {
    at::Tensor average;  // undefined: not rotated
    at::Tensor basis;
  };

  static Side side(State& state, const char* name);
  static void start(Side& side);
  static void refresh(Side& side, at::Tensor& by_axis, std::int64_t dimension);

  Side left_;
  Side right_;
};

}  // namespace penstock::optim
