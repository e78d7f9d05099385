#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/rows_testing.h"

namespace penstock::kernels::rows {
namespace {

TEST(Rows, TheFirstInstructionSetIsPortable) {
  EXPECT_EQ(instruction_sets().front(), InstructionSet::portable);
  EXPECT_EQ(&loops<float>(), &loops<float>(instruction_sets().back()));
  EXPECT_EQ(&loops<Bf16Bits>(), &loops<Bf16Bits>(instruction_sets().back()));
  for (const InstructionSet a : instruction_sets()) {
    for (const InstructionSet b : instruction_sets()) {
      EXPECT_EQ(loops<float>(a).norm == loops<float>(b).norm, a == b) << "the same code for two";
    }
  }
}

Bf16Bits bf16(float x, InstructionSet set) {
  Bf16Bits bits = 0;
  loops<Bf16Bits>(set).from_float(&x, &bits, 1);
  return bits;
}

/// The processor's own conversion makes zeros of numbers that are not normal.
bool may_be_zero(Bf16Bits bits, InstructionSet set) {
  return set == InstructionSet::avx512_bf16 && (bits & 0x7f80U) == 0;
}

TEST(Rows, Bf16ToFloatAndBackIsTheIdentity) {
  constexpr std::int64_t all = 65536;
  std::vector<Bf16Bits> bits(all);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<Bf16Bits>(i);
  for (const InstructionSet set : instruction_sets()) {
    std::vector<float> values(all);
    loops<Bf16Bits>(set).to_float(bits.data(), values.data(), all);
    std::vector<Bf16Bits> back(all);
    loops<Bf16Bits>(set).from_float(values.data(), back.data(), all);
    for (std::size_t i = 0; i < bits.size(); ++i) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), static_cast<std::uint32_t>(i) << 16U);
      if (std::isnan(values[i])) {
        ASSERT_TRUE(std::isnan(value(back[i])));
      } else if (!may_be_zero(bits[i], set) || back[i] != (bits[i] & 0x8000U)) {
        ASSERT_EQ(back[i], bits[i]);
      }
    }
  }
}

TEST(Rows, ToBf16RoundsToNearestTiesToEven) {
  for (const InstructionSet set : instruction_sets()) {
    EXPECT_EQ(bf16(1.0F, set), 0x3f80);
    EXPECT_EQ(bf16(1.0F + 0x1p-8F, set), 0x3f80) << "a tie goes to the even neighbour below";
    EXPECT_EQ(bf16(1.0F + 0x3p-8F, set), 0x3f82) << "a tie goes to the even neighbour above";
    EXPECT_EQ(bf16(1.0F + 0x1p-8F + 0x1p-23F, set), 0x3f81);
    EXPECT_EQ(bf16(1.0F + 0x3p-8F - 0x1p-23F, set), 0x3f81);
    EXPECT_EQ(bf16(-0.0F, set), 0x8000);
    EXPECT_EQ(bf16(std::numeric_limits<float>::max(), set), 0x7f80) << "rounds to infinity";
    EXPECT_EQ(bf16(-infinity, set), 0xff80);
    std::vector<float> values;
    for (std::uint32_t i = 0; i < 200'001; ++i) {
      values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random_bits(11, i))));
    }
    std::vector<Bf16Bits> bits(values.size());
    loops<Bf16Bits>(set).from_float(values.data(), bits.data(), std::ssize(values));
    for (std::size_t i = 0; i < bits.size(); ++i) {
      const auto expected = element<Bf16Bits>(values[i]);
      if (std::isnan(values[i]) || std::abs(values[i]) < least_normal) continue;
      ASSERT_EQ(bits[i], expected) << values[i];
    }
  }
}

TEST(Rows, ToBf16KeepsEveryNan) {
  // The payload's upper bits may all be zero: cutting them off must not leave an infinity.
  for (const InstructionSet set : instruction_sets()) {
    for (const std::uint32_t bits :
         {0x7f800001U, 0xff800001U, 0x7fffffffU, 0xffffffffU, 0x7fc00000U}) {
      EXPECT_GT(bf16(std::bit_cast<float>(bits), set) & 0x7fffU, 0x7f80U) << bits;
    }
  }
}

TEST(Rows, ExponentialsStayWithinThePromisedError) {
  std::vector<float> x;
  for (double at = -87; at <= 88; at += 1.7e-3) x.push_back(static_cast<float>(at));
  for (int n = -125; n <= 126; ++n) {  // where the exponent changes
    auto at = static_cast<float>((n + 0.5) * std::log(2.0));
    for (int i = 0; i < 20; ++i) at = std::nextafter(at, -infinity);
    for (int i = 0; i < 40; ++i, at = std::nextafter(at, infinity)) x.push_back(at);
  }
  for (const InstructionSet set : instruction_sets()) {
    std::vector<float> y(x.size());
    loops<float>(set).exponentials(x.data(), y.data(), std::ssize(x));
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(y[i] / std::exp(static_cast<double>(x[i])), 1, 2e-7) << x[i];
    }
  }
}

TEST(Rows, ExponentialsOfSpecialValues) {
  // Two not-a-numbers with payloads that arithmetic on their bits would make numbers of.
  const std::vector<float> x{0.0F,
                             -0.0F,
                             -87.0F,
                             std::nextafter(-87.0F, -infinity),
                             -1e4F,
                             -infinity,
                             nan,
                             -nan,
                             std::bit_cast<float>(0x7fc00001U),
                             std::bit_cast<float>(0xffffffffU)};
  for (const InstructionSet set : instruction_sets()) {
    std::vector<float> y(x.size());
    loops<float>(set).exponentials(x.data(), y.data(), std::ssize(x));
    EXPECT_EQ(y[0], 1);
    EXPECT_EQ(y[1], 1);
    EXPECT_GT(y[2], 0);
    for (const std::size_t i : {3U, 4U, 5U}) EXPECT_EQ(y[i], 0) << x[i];
    for (std::size_t i = 6; i < x.size(); ++i) EXPECT_TRUE(std::isnan(y[i])) << i;
  }
}

}  // namespace
}  // namespace penstock::kernels::rows
