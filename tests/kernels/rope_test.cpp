#include "kernels/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "kernels/helpers.h"
#include "kernels/paths.h"

namespace penstock::kernels {
namespace {

using tests::fp32_rounding;
using tests::normal;
using tests::Path;
using tests::same_bits;
using tests::storage_rounding;
using tests::within;

/// t / base^(2 i / D) in double, [T, D/2].
at::Tensor angles(std::int64_t positions, std::int64_t head_width, double base) {
  at::Tensor result = at::empty({positions, head_width / 2}, at::kDouble);
  for (std::int64_t t = 0; t < positions; ++t) {
    for (std::int64_t i = 0; i < head_width / 2; ++i) {
      const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(head_width);
      result[t][i] = static_cast<double>(t) / std::pow(base, exponent);
    }
  }
  return result;
}

TEST(Rope, TablesHoldTheCosinesAndSinesOfTheAngles) {
  for (const double base : {1e4, 5e5}) {
    for (const std::int64_t head_width : {2, 6, 64}) {
      const RotaryTables tables = rotary_tables(257, head_width, base);
      const at::Tensor angle = angles(257, head_width, base);
      // The exponent's rounding is worth ln(base) <= 13.2 roundings of the frequency; power,
      // reciprocal and product add 4, cosine and sine 2 of their own.
      const at::Tensor bound = fp32_rounding * (18 * angle + 2);
      EXPECT_EQ(tables.cosine.scalar_type(), at::kFloat);
      EXPECT_TRUE(within(tables.cosine, angle.cos(), bound));
      EXPECT_TRUE(within(tables.sine, angle.sin(), bound));
    }
  }
}

TEST(Rope, PositionZeroIsNotRotated) {
  const at::Tensor x = normal({1, 12}, "x");
  at::Tensor y = x.clone();
  rotate(y, 2, 6, 4, rotary_tables(4, 6, 1e4), Rotation::forward);
  EXPECT_TRUE(at::equal(y, x));
}

using Case =
    std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, at::ScalarType, const Path*>;

class RopeTest : public testing::TestWithParam<Case> {
 protected:
  std::int64_t sequences = std::get<0>(GetParam());
  std::int64_t positions = std::get<1>(GetParam());
  std::int64_t heads = std::get<2>(GetParam());
  std::int64_t head_width = std::get<3>(GetParam());
  at::ScalarType type = std::get<4>(GetParam());
  const Path& path = *std::get<5>(GetParam());
  std::int64_t rotated_width = heads * head_width;
  RotaryTables tables = rotary_tables(positions + 3, head_width, 1e4);  // longer than the sequence
  at::Tensor x = normal({sequences * positions, rotated_width + 5}, "x", 1, type);

  /// Element i of a head's first half and of its second are the parts of a complex number.
  at::Tensor reference(double sign) const {
    const at::Tensor cosine = tables.cosine.narrow(0, 0, positions).to(at::kDouble);
    const at::Tensor sine = sign * tables.sine.narrow(0, 0, positions).to(at::kDouble);
    const at::Tensor turn = at::complex(cosine, sine).view({1, positions, 1, head_width / 2});
    const at::Tensor heads_of_x = x.narrow(1, 0, rotated_width)
                                      .to(at::kDouble)
                                      .reshape({sequences, positions, heads, 2, head_width / 2});
    const at::Tensor z =
        at::complex(heads_of_x.select(3, 0).contiguous(), heads_of_x.select(3, 1).contiguous()) *
        turn;
    return at::stack({at::real(z), at::imag(z)}, 3).reshape({x.size(0), rotated_width});
  }
};

TEST_P(RopeTest, TurnsEveryPairByItsAngle) {
  for (const auto direction : {Rotation::forward, Rotation::inverse}) {
    at::Tensor y = x.clone();
    path.rotate(y, heads, head_width, positions, tables, direction);
    const at::Tensor expected = reference(direction == Rotation::forward ? 1 : -1);
    // Two products and a sum; each is at most |a| + |b| of the pair.
    const at::Tensor pairs = x.narrow(1, 0, rotated_width)
                                 .to(at::kDouble)
                                 .abs()
                                 .reshape({x.size(0), heads, 2, head_width / 2});
    const at::Tensor size =
        pairs.sum(2, true).expand({-1, -1, 2, -1}).reshape({x.size(0), rotated_width});
    EXPECT_TRUE(within(y.narrow(1, 0, rotated_width), expected,
                       3 * fp32_rounding * size + 1.01 * storage_rounding(type) * expected.abs()));
    EXPECT_TRUE(same_bits(y.narrow(1, rotated_width, 5), x.narrow(1, rotated_width, 5)))
        << "the columns after the last rotated head changed";
  }
}

TEST_P(RopeTest, TheInverseUndoesTheRotation) {
  at::Tensor y = x.clone();
  path.rotate(y, heads, head_width, positions, tables, Rotation::forward);
  path.rotate(y, heads, head_width, positions, tables, Rotation::inverse);
  // Two rotations of 4 roundings each (the tables' included), two storages; a pair keeps its
  // length.
  const double relative = 8 * fp32_rounding + 2.01 * storage_rounding(type);
  EXPECT_LT(tests::norm_error(y, x.to(at::kDouble)), relative);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RopeTest,
                         testing::Combine(testing::Values(1, 3), testing::Values(1, 17, 257),
                                          testing::Values(1, 3), testing::Values(2, 6, 34),
                                          testing::Values(at::kFloat, at::kBFloat16),
                                          testing::ValuesIn(tests::all_paths)));

TEST(Rope, NanStaysInItsPair) {
  for (const Path* path : tests::all_paths) {
    const at::Tensor clean = normal({2, 8}, "x");
    at::Tensor x = clean.clone();
    x[1][2] = std::numeric_limits<float>::quiet_NaN();
    path->rotate(x, 2, 4, 2, rotary_tables(2, 4, 1e4), Rotation::forward);
    at::Tensor expected = clean.clone();
    path->rotate(expected, 2, 4, 2, rotary_tables(2, 4, 1e4), Rotation::forward);
    const at::Tensor bad = x.isnan();
    EXPECT_EQ(bad.sum().item<std::int64_t>(), 2);
    EXPECT_TRUE(bad[1][0].item<bool>() && bad[1][2].item<bool>());
    EXPECT_TRUE(at::equal(x.nan_to_num(0), expected.masked_fill(bad, 0)));
  }
}

}  // namespace
}  // namespace penstock::kernels
