#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/rows_testing.h"

namespace penstock::kernels::rows {
namespace {

TEST(Rows, Rotate) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t half : {1, 3, 16, 17, 32, 65}) {
      constexpr std::int64_t heads = 3;
      constexpr std::int64_t positions = 4;
      const std::int64_t width = heads * 2 * half + 5;  // five columns are not rotated
      const auto x = normal<T>(7 * width, "x");
      const auto cosines = normal<float>(positions * half, "cosines");
      const auto sines = normal<float>(positions * half, "sines");
      for (const float direction : {1.0F, -1.0F}) {
        Output<T> y(x);
        loops.rotate(y.data(),
                     {width, heads, half, positions, cosines.data(), sines.data(), direction}, 1,
                     6);
        for (std::int64_t row = 0; row < 7; ++row) {
          for (std::int64_t column = 0; column < width; ++column) {
            const std::int64_t head = column / (2 * half);
            const std::int64_t i = column % half;
            const std::int64_t first = row * width + head * 2 * half + i;
            const bool upper = column % (2 * half) >= half;
            if (head >= heads || row < 1 || row > 5) {
              ASSERT_EQ(y[row * width + column],
                        value(x[static_cast<std::size_t>(row * width + column)]));
              continue;
            }
            const auto table = static_cast<std::size_t>(row % positions * half + i);
            const double a = value(x[static_cast<std::size_t>(first)]);
            const double b = value(x[static_cast<std::size_t>(first + half)]);
            const double c = cosines[table];
            const double s = static_cast<double>(direction) * sines[table];
            const double expected = upper ? b * c + a * s : a * c - b * s;
            const double size =
                upper ? std::abs(b * c) + std::abs(a * s) : std::abs(a * c) + std::abs(b * s);
            ASSERT_NEAR(y[row * width + column], expected,
                        2 * rounding * size + storage<T> * std::abs(expected) + least_normal)
                << row << " " << column << " half " << half;
          }
        }
      }
    }
  });
}

TEST(Rows, AddToRows) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const std::vector<std::int64_t> row{2, 0, 2, 2};
      const auto x = normal<T>(4 * width, "x");
      const auto before = normal<float>(3 * width, "table");
      for (const std::int64_t begin : {std::int64_t{0}, width / 3}) {
        const std::int64_t end = width - width / 5;
        Output<float> table(before);
        loops.add_to_rows(x.data(), row.data(), table.data(), 4, width, begin, end);
        std::vector<float> expected = before;
        for (std::size_t n = 0; n < row.size(); ++n) {
          for (std::int64_t i = begin; i < end; ++i) {
            expected[static_cast<std::size_t>(row[n] * width + i)] += static_cast<float>(
                value(x[static_cast<std::size_t>(static_cast<std::int64_t>(n) * width + i)]));
          }
        }
        for (std::int64_t i = 0; i < 3 * width; ++i) {
          ASSERT_EQ(table[i], expected[static_cast<std::size_t>(i)]) << i << " of " << width;
        }
      }
    }
  });
}

// What products of blocks need between them. Each result has a few roundings in fp32, an
// exponential 2e-7 more, and the rounding of its own type.
TEST(Rows, ScoresAreThatOfTheirFormulas) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t n : widths) {
      const auto s = normal<float>(n, "s", 3);
      const auto dp = normal<float>(n, "dp");
      const auto delta = normal<float>(n, "delta");
      constexpr float scale = 0.25F;
      EXPECT_EQ(loops.maximum(s.data(), n), *std::max_element(s.begin(), s.end()));

      const float offset = scale * *std::max_element(s.begin(), s.end());
      Output<T> p(n);
      const float sum = loops.shifted_exponentials(s.data(), scale, offset, p.data(), n);
      double expected_sum = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const double e =
            std::exp(static_cast<double>(s[static_cast<std::size_t>(i)]) * scale - offset);
        expected_sum += e;
        ASSERT_NEAR(p[i], e, e * (storage<T> + 1e-6)) << i << " of " << n;
      }
      EXPECT_NEAR(sum, expected_sum, 2e-6 * expected_sum);

      std::vector<float> log_sum;
      for (const float x : s) log_sum.push_back(scale * x + 0.5F);
      Output<T> q(n);
      Output<T> ds(n);
      loops.score_gradient(s.data(), dp.data(), scale, log_sum.data(), delta.data(), q.data(),
                           ds.data(), n);
      for (std::int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double e = std::exp(static_cast<double>(s[at]) * scale - log_sum[at]);
        const double gradient = scale * e * (static_cast<double>(dp[at]) - delta[at]);
        const double size = scale * e * (std::abs(dp[at]) + std::abs(delta[at]));
        ASSERT_NEAR(q[i], e, e * (storage<T> + 2e-6)) << i << " of " << n;
        ASSERT_NEAR(ds[i], gradient, std::abs(gradient) * storage<T> + 3e-6 * size);
      }
    }
  });
}

TEST(Rows, RowsAreScaledAddedAndMultiplied) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t n : widths) {
      const auto x = normal<float>(n, "x");
      const auto a = normal<T>(n, "a");
      const auto b = normal<T>(n, "b");
      Output<T> scaled(n);
      Output<T> sums(n);
      loops.scale(x.data(), 0.7F, scaled.data(), n);
      loops.sum(x.data(), a.data(), sums.data(), n);
      double dot = 0;
      double size = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double product = static_cast<double>(x[at]) * 0.7F;
        const double sum = x[at] + value(a[at]);
        ASSERT_NEAR(scaled[i], product, std::abs(product) * (storage<T> + 2 * rounding));
        ASSERT_NEAR(sums[i], sum, std::abs(sum) * (storage<T> + 2 * rounding));
        dot += value(a[at]) * value(b[at]);
        size += std::abs(value(a[at]) * value(b[at]));
      }
      EXPECT_NEAR(loops.dot(a.data(), b.data(), n), dot, 2e-6 * size);
    }
  });
}

TEST(Rows, NanReachesEveryResultOfItsRow) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      for (const std::int64_t place : {std::int64_t{0}, width / 2, width - 1}) {
        auto x = normal<T>(3 * width, "x");
        x[static_cast<std::size_t>(width + place)] = element<T>(nan);
        const std::vector<T> gain(static_cast<std::size_t>(width), element<T>(1));
        std::vector<T> y(x.size());
        std::vector<float> inverse(3);
        loops.norm(x.data(), gain.data(), eps, y.data(), inverse.data(), 3, width);
        std::vector<double> losses(3);
        const std::vector<std::int64_t> target(3, 0);
        loops.cross_entropy(x.data(), target.data(), losses.data(), 3, width);
        for (std::size_t row = 0; row < 3; ++row) {
          EXPECT_EQ(std::isnan(inverse[row]), row == 1);
          EXPECT_EQ(std::isnan(losses[row]), row == 1) << place << " of " << width;
          EXPECT_EQ(std::isnan(value(y[row * static_cast<std::size_t>(width)])), row == 1);
        }
      }
    }
  });
}

TEST(Rows, AddAddsEveryElement) {
  const auto x = normal<float>(37, "x");
  auto y = normal<float>(37, "y");
  const auto before = y;
  add(x.data(), y.data(), 37);
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], before[i] + x[i]);
}

}  // namespace
}  // namespace penstock::kernels::rows
