#include "optim/rotated_basis.h"

#include <limits>
#include <string>
#include <tuple>

namespace penstock::optim {
namespace {

void init_side(State& state, const at::Tensor& weight, const std::string& name, std::int64_t n,
               std::int64_t max_dim) {
  if (n > max_dim) return;
  state.tensors[name] = weight.new_zeros({n, n});
  state.tensors[name + "_basis"] = weight.new_zeros({n, n});
}

}  // namespace

void RotatedBasis::init(State& state, const at::Tensor& weight, std::int64_t max_dim) {
  init_side(state, weight, "left", weight.size(0), max_dim);
  init_side(state, weight, "right", weight.size(1), max_dim);
}

RotatedBasis::Side RotatedBasis::side(State& state, const char* name) {
  const auto average = state.tensors.find(name);
  if (average == state.tensors.end()) return {};
  return {average->second, state.tensors.at(std::string(name) + "_basis")};
}

RotatedBasis::RotatedBasis(State& state)
    : left_(side(state, "left")), right_(side(state, "right")) {}

void RotatedBasis::accumulate(const at::Tensor& gradient, double beta) {
  const at::Tensor transposed = gradient.t();
  if (left_.average.defined()) left_.average.addmm_(gradient, transposed, beta, 1 - beta);
  if (right_.average.defined()) right_.average.addmm_(transposed, gradient, beta, 1 - beta);
}

void RotatedBasis::start() {
  start(left_);
  start(right_);
}

void RotatedBasis::start(Side& side) {
  if (!side.average.defined()) return;
  if (!at::isfinite(side.average).all().item<bool>()) {  // the decomposition would throw
    side.basis.fill_(std::numeric_limits<float>::quiet_NaN());
    return;
  }
  const at::Tensor eigenvectors = std::get<1>(at::linalg_eigh(side.average));
  side.basis.copy_(eigenvectors.flip(1));  // they come with rising eigenvalues
}

void RotatedBasis::refresh(at::Tensor& by_axis) {
  refresh(left_, by_axis, 0);
  refresh(right_, by_axis, 1);
}

void RotatedBasis::refresh(Side& side, at::Tensor& by_axis, std::int64_t dimension) {
  if (!side.average.defined()) return;
  const at::Tensor product = at::mm(side.average, side.basis);
  const at::Tensor eigenvalues = side.basis.mul(product).sum(0);
  const at::Tensor order = at::argsort(eigenvalues, /*stable=*/true, 0, /*descending=*/true);
  side.basis.copy_(std::get<0>(at::linalg_qr(product.index_select(1, order))));
  by_axis.copy_(by_axis.index_select(dimension, order));
}

at::Tensor RotatedBasis::rotate(const at::Tensor& x) const {
  const at::Tensor rows = left_.basis.defined() ? at::mm(left_.basis.t(), x) : x;
  return right_.basis.defined() ? at::mm(rows, right_.basis) : rows;
}

at::Tensor RotatedBasis::rotate_back(const at::Tensor& x) const {
  const at::Tensor rows = left_.basis.defined() ? at::mm(left_.basis, x) : x;
  return right_.basis.defined() ? at::mm(rows, right_.basis.t()) : rows;
}

}  // namespace penstock::optim
