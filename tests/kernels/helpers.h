#pragma once
// Inputs and comparisons for the tests of the kernels.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/random.h"

namespace penstock::tests {

// Largest relative error of one rounding to nearest.
constexpr double fp32_rounding = 0x1p-24;
constexpr double bf16_rounding = 0x1p-8;

/// The rounding that a result of this type has undergone at the end, beyond the fp32 arithmetic.
inline double storage_rounding(at::ScalarType type) {
  return type == at::kBFloat16 ? bf16_rounding : 0;
}

/// Standard normal numbers times `scale`; the same for the same name.
inline at::Tensor normal(std::vector<std::int64_t> shape, std::string_view name, double scale = 1,
                         at::ScalarType type = at::kFloat) {
  at::Tensor result = at::empty(shape, at::kDouble);
  auto* values = result.mutable_data_ptr<double>();
  const std::uint64_t key = random_key(20261121, name);
  for (std::int64_t i = 0; i < result.numel(); ++i) {
    values[i] = scale * random_normal(key, static_cast<std::uint64_t>(i));
  }
  return result.to(type);
}

/// Whole numbers in [0, end).
inline at::Tensor random_tokens(std::int64_t count, std::int64_t end, std::string_view name) {
  at::Tensor result = at::empty({count}, at::kLong);
  auto* values = result.mutable_data_ptr<std::int64_t>();
  const std::uint64_t key = random_key(20261121, name);
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<std::int64_t>(random_bits(key, static_cast<std::uint64_t>(i)) %
                                          static_cast<std::uint64_t>(end));
  }
  return result;
}

/// A copy in double precision, with derivatives.
inline at::Tensor variable(const at::Tensor& x) {
  return x.to(at::kDouble).clone().requires_grad_(true);
}

/// |actual - expected| <= bound in every element.
inline testing::AssertionResult within(const at::Tensor& actual, const at::Tensor& expected,
                                       const at::Tensor& bound) {
  if (actual.sizes() != expected.sizes()) {
    return testing::AssertionFailure() << actual.sizes() << " instead of " << expected.sizes();
  }
  const at::Tensor error = (actual.to(at::kDouble) - expected).abs();
  const at::Tensor good = error <= bound;
  if (good.all().item<bool>()) return testing::AssertionSuccess();
  const at::Tensor excess = at::where(good, at::zeros_like(error), error / bound);
  return testing::AssertionFailure()
         << at::logical_not(good).sum().item<std::int64_t>() << " of " << error.numel()
         << " elements are off, by up to " << excess.max().item<double>() << " times the bound";
}

/// |actual - expected| / |expected| in the Euclidean norm.
inline double norm_error(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

/// The same type, shape and bits, NaN included.
inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const at::Tensor x = a.contiguous();
  const at::Tensor y = b.contiguous();
  return std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

/// LibTorch's number of threads, while this object lives.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

}  // namespace penstock::tests
