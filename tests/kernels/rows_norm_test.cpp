#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/rows_testing.h"

namespace penstock::kernels::rows {
namespace {

double inverse_rms(const std::vector<double>& x) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  return 1 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
}

TEST(Rows, Norm) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const auto x = normal<T>(rows_of_each * width, "x");
      const auto gain = normal<T>(width, "gain");
      Output<T> y(rows_of_each * width);
      Output<float> inverse(rows_of_each);
      loops.norm(x.data(), gain.data(), eps, y.data(), inverse.data(), rows_of_each, width);
      // A square root halves the sum's roundings, a conversion and two products follow.
      const double tolerance = (sum_roundings(width) / 2 + 4) * rounding;
      for (std::int64_t row = 0; row < rows_of_each; ++row) {
        const auto in = exact(x.data() + row * width, width);
        const double r = inverse_rms(in);
        ASSERT_NEAR(inverse[row] / r, 1, tolerance);
        for (std::int64_t i = 0; i < width; ++i) {
          const auto index = static_cast<std::size_t>(i);
          const double expected = in[index] * r * value(gain[index]);
          ASSERT_NEAR(y[row * width + i], expected,
                      (tolerance + storage<T>)*std::abs(expected) + least_normal)
              << row << " " << i << " of " << width;
        }
      }
    }
  });
}

TEST(Rows, NormGradient) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const std::int64_t n = rows_of_each * width;
      const auto dy = normal<T>(n, "dy");
      const auto x = normal<T>(n, "x");
      const auto gain = normal<T>(width, "gain");
      const auto residual = normal<T>(n, "residual");
      std::vector<float> inverse;
      for (std::int64_t row = 0; row < rows_of_each; ++row) {
        inverse.push_back(static_cast<float>(inverse_rms(exact(x.data() + row * width, width))));
      }
      for (const bool with_residual : {false, true}) {
        Output<T> dx(n);
        Output<float> dgain(std::vector<float>(static_cast<std::size_t>(width), 0.5F));
        loops.norm_gradient(dy.data(), x.data(), gain.data(), inverse.data(),
                            with_residual ? residual.data() : nullptr, dx.data(), dgain.data(),
                            rows_of_each, width);
        const double roundings = sum_roundings(width) + 12;
        std::vector<double> expected_dgain(static_cast<std::size_t>(width), 0.5);
        std::vector<double> size_of_dgain(static_cast<std::size_t>(width), 0.5);
        for (std::int64_t row = 0; row < rows_of_each; ++row) {
          auto in = exact(x.data() + row * width, width);
          const auto d = exact(dy.data() + row * width, width);
          const auto loss = [&](const std::vector<double>& at) {
            double sum = 0;
            for (std::size_t i = 0; i < at.size(); ++i) sum += at[i] * d[i] * value(gain[i]);
            return sum * inverse_rms(at);
          };
          const double r = inverse_rms(in);
          double through_norm = 0;
          for (std::size_t i = 0; i < in.size(); ++i) {
            through_norm += std::abs(d[i] * value(gain[i]) * in[i]);
            expected_dgain[i] += d[i] * in[i] * r;
            size_of_dgain[i] += std::abs(d[i] * in[i] * r);
          }
          for (std::int64_t i = 0; i < width; i += 1 + width / 20) {
            const auto index = static_cast<std::size_t>(i);
            const double skip =
                with_residual ? value(residual[static_cast<std::size_t>(row * width + i)]) : 0;
            const double expected = skip + slope(in, i, loss);
            const double size =
                r * std::abs(d[index] * value(gain[index])) +
                std::abs(in[index]) * r * r * r * through_norm / static_cast<double>(width) +
                std::abs(skip);
            ASSERT_NEAR(dx[row * width + i], expected,
                        roundings * rounding * size + storage<T> * std::abs(expected) +
                            slope_error * (1 + std::abs(loss(in))))
                << row << " " << i << " of " << width << " " << with_residual;
          }
        }
        for (std::int64_t i = 0; i < width; ++i) {
          const auto index = static_cast<std::size_t>(i);
          ASSERT_NEAR(dgain[i], expected_dgain[index],
                      (rows_of_each + 5) * rounding * size_of_dgain[index]);
        }
      }
    }
  });
}

TEST(Rows, NormGradientMayOverwriteItsResidual) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    constexpr std::int64_t width = 65;
    constexpr std::int64_t n = 3 * width;
    const auto dy = normal<T>(n, "dy");
    const auto x = normal<T>(n, "x");
    const auto gain = normal<T>(width, "gain");
    const std::vector<float> inverse{0.5F, 1, 2};
    const auto residual = normal<T>(n, "residual");
    std::vector<T> dx(n);
    std::vector<T> in_place = residual;
    std::vector<float> dgain(width);
    loops.norm_gradient(dy.data(), x.data(), gain.data(), inverse.data(), residual.data(),
                        dx.data(), dgain.data(), 3, width);
    loops.norm_gradient(dy.data(), x.data(), gain.data(), inverse.data(), in_place.data(),
                        in_place.data(), dgain.data(), 3, width);
    EXPECT_EQ(in_place, dx);
  });
}

}  // namespace
}  // namespace penstock::kernels::rows
