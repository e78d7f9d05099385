#include "kernels/rows.h"

#include <c10/util/BFloat16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "base/random.h"

namespace penstock::kernels::rows {
namespace {

using Floats = std::vector<float>;

constexpr double rounding = 0x1p-24;
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t sizes[] = {1, 3, 15, 16, 17, 257};

Floats normal(std::int64_t n, std::string_view name) {
  Floats values(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(random_normal(random_key(3, name), i));
  }
  return values;
}

/// Roundings on the longest way through a sum of n terms in 16 lanes: a product's, the lane's
/// additions, the 16 lanes'.
double sum_tolerance(std::int64_t n, int products) {
  return (static_cast<double>(n) / 16 + 17 + products) * rounding;
}

/// c10's conversion, the one that LibTorch itself uses.
Bf16Bits reference_bf16(float value) { return c10::BFloat16(value).x; }

Bf16Bits bf16(float value) {
  Bf16Bits bits = 0;
  to_bf16(&value, &bits, 1);
  return bits;
}

TEST(Rows, Bf16ToFloatAndBackIsTheIdentity) {
  constexpr std::int64_t all = 65536;
  std::vector<Bf16Bits> bits(all);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<Bf16Bits>(i);
  Floats values(all);
  to_float(bits.data(), values.data(), all);
  std::vector<Bf16Bits> back(all);
  to_bf16(values.data(), back.data(), all);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), static_cast<std::uint32_t>(i) << 16U);
    if (std::isnan(values[i])) {
      ASSERT_TRUE(std::isnan(std::bit_cast<float>(static_cast<std::uint32_t>(back[i]) << 16U)));
    } else {
      ASSERT_EQ(back[i], bits[i]);
    }
  }
}

TEST(Rows, ToBf16RoundsToNearestTiesToEven) {
  EXPECT_EQ(bf16(1.0F), 0x3f80);
  EXPECT_EQ(bf16(1.0F + 0x1p-8F), 0x3f80) << "a tie goes to the even neighbour below";
  EXPECT_EQ(bf16(1.0F + 0x3p-8F), 0x3f82) << "a tie goes to the even neighbour above";
  EXPECT_EQ(bf16(1.0F + 0x1p-8F + 0x1p-23F), 0x3f81);
  EXPECT_EQ(bf16(1.0F + 0x3p-8F - 0x1p-23F), 0x3f81);
  EXPECT_EQ(bf16(-0.0F), 0x8000);
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()), 0x7f80) << "rounds to infinity";
  EXPECT_EQ(bf16(-infinity), 0xff80);
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random_bits(11, i));
    const auto value = std::bit_cast<float>(bits);
    if (std::isnan(value)) continue;
    ASSERT_EQ(bf16(value), reference_bf16(value)) << value;
  }
}

TEST(Rows, ToBf16KeepsEveryNan) {
  // The payload's upper bits may all be zero: cutting them off must not leave an infinity.
  for (const std::uint32_t bits :
       {0x7f800001U, 0xff800001U, 0x7fffffffU, 0xffffffffU, 0x7fc00000U}) {
    const Bf16Bits result = bf16(std::bit_cast<float>(bits));
    EXPECT_GT(result & 0x7fffU, 0x7f80U) << bits;
  }
}

TEST(Rows, SumsStayWithinTheirRoundings) {
  for (const std::int64_t n : sizes) {
    const Floats a = normal(n, "a");
    const Floats b = normal(n, "b");
    const Floats c = normal(n, "c");
    double squares = 0;
    double product = 0;
    double magnitude = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      squares += static_cast<double>(a[i]) * a[i];
      const double term = static_cast<double>(a[i]) * b[i] * c[i];
      product += term;
      magnitude += std::abs(term);
    }
    EXPECT_NEAR(sum_of_squares(a.data(), n) / squares, 1, sum_tolerance(n, 1)) << n;
    EXPECT_NEAR(dot(a.data(), b.data(), c.data(), n), product, magnitude * sum_tolerance(n, 2))
        << n;
  }
}

TEST(Rows, ElementwiseOperations) {
  for (const std::int64_t n : sizes) {
    const Floats a = normal(n, "a");
    const Floats b = normal(n, "b");
    Floats scaled(a.size());
    scale(a.data(), 0.3F, b.data(), scaled.data(), n);
    Floats multiplied = a;
    multiply(multiplied.data(), -1.5F, n);
    Floats added = b;
    add(a.data(), added.data(), n);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double product = static_cast<double>(0.3F) * a[i] * b[i];
      EXPECT_NEAR(scaled[i], product, 2.01 * rounding * std::abs(product));
      EXPECT_EQ(multiplied[i], a[i] * -1.5F);
      EXPECT_EQ(added[i], a[i] + b[i]);
    }
  }
}

TEST(Rows, MaximumFindsEveryPlace) {
  for (const std::int64_t n : sizes) {
    for (std::int64_t place = 0; place < n; ++place) {
      Floats a(static_cast<std::size_t>(n), -5.0F);
      a[static_cast<std::size_t>(place)] = -1e-3F;
      EXPECT_EQ(maximum(a.data(), n), -1e-3F) << place << " of " << n;
    }
  }
  const Floats empty_values(3, -infinity);
  EXPECT_EQ(maximum(empty_values.data(), 3), -infinity);
  const Floats with_infinity{1, infinity, 2};
  EXPECT_EQ(maximum(with_infinity.data(), 3), infinity);
}

TEST(Rows, ExponentialsAndTheirSum) {
  for (const std::int64_t n : sizes) {
    const Floats a = normal(n, "a");
    Floats e = a;
    const float sum = exponentials(e.data(), 0.25F, n);
    EXPECT_EQ(sum_of_exponentials(a.data(), 0.25F, n), sum) << "the loss of training and of "
                                                               "evaluation would differ";
    double expected = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double value = std::exp(static_cast<double>(a[i]) - 0.25);
      expected += value;
      // 2e-7 of the exponential itself, and its argument's rounding.
      EXPECT_NEAR(e[i] / value, 1, 2e-7 + 5 * rounding);
    }
    EXPECT_NEAR(sum / expected, 1, 2e-7 + 5 * rounding + sum_tolerance(n, 0)) << n;
  }
}

TEST(Rows, RotateHalvesTurnsThePairsOfBothHalves) {
  Floats x{1, 2, 3, 10, 20, 30};
  const Floats cosine{1, 0, 0.6F};
  const Floats sine{0, 1, 0.8F};
  rotate_halves(x.data(), cosine.data(), sine.data(), 3);
  EXPECT_EQ(x[0], 1);
  EXPECT_EQ(x[3], 10);
  EXPECT_EQ(x[1], -20);
  EXPECT_EQ(x[4], 2);
  EXPECT_NEAR(x[2], 3 * 0.6 - 30 * 0.8, 1e-5);
  EXPECT_NEAR(x[5], 30 * 0.6 + 3 * 0.8, 1e-5);
}

TEST(Rows, OperationsMayOverwriteTheInputsThatTheyNameFor) {
  constexpr std::int64_t n = 37;
  const Floats dy = normal(n, "dy");
  const Floats gate = normal(n, "gate");
  const Floats up = normal(n, "up");
  Floats dgate(n);
  Floats dup(n);
  swiglu_gradient(dy.data(), gate.data(), up.data(), dgate.data(), dup.data(), n);
  Floats gate_in_place = gate;
  Floats up_in_place = up;
  swiglu_gradient(dy.data(), gate_in_place.data(), up_in_place.data(), gate_in_place.data(),
                  up_in_place.data(), n);
  EXPECT_EQ(gate_in_place, dgate);
  EXPECT_EQ(up_in_place, dup);

  Floats dx(n);
  Floats dgain(n);
  norm_gradient(dy.data(), up.data(), gate.data(), gate.data(), 0.7F, 0.1F, dx.data(), dgain.data(),
                n);
  Floats residual = gate;
  Floats dgain_in_place(n);
  norm_gradient(dy.data(), up.data(), gate.data(), residual.data(), 0.7F, 0.1F, residual.data(),
                dgain_in_place.data(), n);
  EXPECT_EQ(residual, dx);
  EXPECT_EQ(dgain_in_place, dgain);
}

TEST(Rows, NanReachesEveryResult) {
  for (const std::int64_t n : sizes) {
    for (const std::int64_t place : {std::int64_t{0}, n / 2, n - 1}) {
      Floats a = normal(n, "a");
      const Floats b = normal(n, "b");
      a[static_cast<std::size_t>(place)] = nan;
      EXPECT_TRUE(std::isnan(sum_of_squares(a.data(), n)));
      EXPECT_TRUE(std::isnan(dot(b.data(), a.data(), b.data(), n)));
      EXPECT_TRUE(std::isnan(sum_of_exponentials(a.data(), 1, n)));
    }
  }
}

}  // namespace
}  // namespace penstock::kernels::rows
