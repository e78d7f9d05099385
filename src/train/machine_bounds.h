#pragma once
// What this machine can do at most: the bounds that a profile's shares refer to.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "train/side_by_side.h"

namespace penstock::train {

enum class ProductKind {
  square,           // at::mm of two 2048 x 2048 matrices
  forward,          // the three products of a linear layer, kernels/linear.h
  input_gradient,   //
  weight_gradient,  //
};
inline constexpr std::array<ProductKind, 4> product_kinds{ProductKind::square, ProductKind::forward,
                                                          ProductKind::input_gradient,
                                                          ProductKind::weight_gradient};

/// "mm", "forward", "dX", "dW"
std::string_view name(ProductKind kind);

/// Rows [n, in] times a matrix [out, in], or the product of its gradients. 2 n in out operations.
struct ProductRate {
  ProductKind kind = ProductKind::square;
  std::int64_t n = 0;
  std::int64_t in = 0;
  std::int64_t out = 0;
  double flops_per_s = 0;  // of one worker
};

struct ProductRates {
  config::Precision precision = config::Precision::fp32;
  Workers workers;
  std::vector<ProductRate> measured;

  /// The largest rate of all, or of one kind.
  double best(std::optional<ProductKind> kind = std::nullopt) const;
};

/// Takes about `seconds` for all kinds and shapes together, but no less than four products each.
ProductRates product_rates(config::Precision precision, const Workers& workers, double seconds);

enum class CopyPlace { memory, cache };

/// "memory", "cache"
std::string_view name(CopyPlace place);

/// A copy from one buffer into another, each worker with buffers of its own: in `memory` 64 MiB
/// each (less with more than 8 workers), in the `cache` 64 KiB, which fit a core's second level.
struct CopyRate {
  CopyPlace place = CopyPlace::memory;
  Workers workers;
  std::int64_t buffer_bytes = 0;
  double bytes_per_s = 0;  // of one worker; bytes read and bytes written both count
};

CopyRate copy_rate(CopyPlace place, const Workers& workers, double seconds);

/// Seconds until a message that one stage sends has woken the next one: half of a round trip of an
/// empty message between two threads through comm::Channel, each on a core of its own where there
/// are two.
double hop_seconds(double seconds);

}  // namespace penstock::train
