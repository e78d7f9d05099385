#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/rows_testing.h"

namespace penstock::kernels::rows {
namespace {

TEST(Rows, SwigluSaturates) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    std::vector<T> gate_up;
    for (const float x : {1e4F, -1e4F, 0.0F, infinity, 3.0F, 3.0F, 3.0F, 3.0F}) {
      gate_up.push_back(element<T>(x));
    }
    std::vector<T> y(4);
    loops.swiglu(gate_up.data(), y.data(), 1, 4);
    EXPECT_EQ(value(y[0]), value(element<T>(3 * static_cast<float>(value(gate_up[0])))));
    EXPECT_NEAR(value(y[1]), 0, 1e-30);
    EXPECT_EQ(value(y[2]), 0);
    EXPECT_EQ(value(y[3]), infinity);
  });
}

double silu(double x) { return x / (1 + std::exp(-x)); }

TEST(Rows, Swiglu) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const auto gate_up = normal<T>(3 * 2 * width, "gate_up", 4);
      Output<T> y(3 * width);
      loops.swiglu(gate_up.data(), y.data(), 3, width);
      for (std::int64_t i = 0; i < 3 * width; ++i) {
        const auto gate = static_cast<std::size_t>(i / width * 2 * width + i % width);
        const double expected =
            silu(value(gate_up[gate])) * value(gate_up[gate + static_cast<std::size_t>(width)]);
        // 1 + e, division, two products.
        const double tolerance = (exp_roundings + 4) * rounding + storage<T>;
        ASSERT_NEAR(y[i], expected, tolerance * std::abs(expected) + least_normal)
            << i << " of " << width;
      }
    }
  });
}

TEST(Rows, SwigluGradient) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const auto gate_up = normal<T>(3 * 2 * width, "gate_up", 4);
      const auto dy = normal<T>(3 * width, "dy");
      Output<T> gradient(3 * 2 * width);
      loops.swiglu_gradient(dy.data(), gate_up.data(), gradient.data(), 3, width);
      for (std::int64_t i = 0; i < 3 * width; ++i) {
        const std::int64_t gate = i / width * 2 * width + i % width;
        const auto index = static_cast<std::size_t>(gate);
        const double d = value(dy[static_cast<std::size_t>(i)]);
        std::vector<double> at{value(gate_up[index]),
                               value(gate_up[index + static_cast<std::size_t>(width)])};
        const auto loss = [&](const std::vector<double>& x) { return d * silu(x[0]) * x[1]; };
        const double dgate = slope(at, 0, loss);
        const double dup = slope(at, 1, loss);
        // The sigmoid's error appears once in itself and twice in silu (1 - sigmoid).
        const double roundings = 3 * (exp_roundings + 2) + 6;
        const double size = std::abs(d * at[1]) * (1 + std::abs(silu(at[0])));
        ASSERT_NEAR(gradient[gate], dgate,
                    roundings * rounding * size + storage<T> * std::abs(dgate) + slope_error * size)
            << i << " of " << width;
        ASSERT_NEAR(
            gradient[gate + width], dup,
            (roundings * rounding + storage<T>)*std::abs(dup) + slope_error * (1 + std::abs(d)))
            << i << " of " << width;
      }
    }
  });
}

}  // namespace
}  // namespace penstock::kernels::rows
