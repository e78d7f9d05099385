#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/rows_testing.h"

namespace penstock::kernels::rows {
namespace {

TEST(Rows, CrossEntropyAndItsGradient) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const auto logits = normal<T>(3 * width, "logits", 3);
      const std::vector<std::int64_t> target{width / 2, 0, width - 1};
      constexpr double scale = 0.3;
      std::vector<double> losses(3);
      std::vector<double> losses_in_training(3);
      Output<T> gradient(logits);
      Output<float> scratch(width);
      loops.cross_entropy(logits.data(), target.data(), losses.data(), 3, width);
      loops.cross_entropy_gradient(gradient.data(), target.data(), scale, losses_in_training.data(),
                                   scratch.data(), 3, width);
      EXPECT_EQ(losses, losses_in_training) << "the losses of training and of evaluation differ";
      for (std::int64_t row = 0; row < 3; ++row) {
        auto x = exact(logits.data() + row * width, width);
        const auto chosen = static_cast<std::size_t>(target[static_cast<std::size_t>(row)]);
        const double peak = *std::max_element(x.begin(), x.end());
        const auto loss = [&](const std::vector<double>& at) {
          double sum = 0;
          for (const double v : at) sum += std::exp(v - peak);
          return std::log(sum) + peak - at[chosen];
        };
        // Of an exponential: its own error and that of its argument, which is below 32.
        const double term = exp_roundings + 32;
        const double tolerance = (term + sum_roundings(width)) * rounding;
        EXPECT_NEAR(losses[static_cast<std::size_t>(row)], loss(x), tolerance + 1e-13);
        for (std::int64_t i = 0; i < width; i += 1 + width / 20) {
          const double expected = scale * slope(x, i, loss);
          ASSERT_NEAR(
              gradient[row * width + i], expected,
              scale * (tolerance + term * rounding + slope_error) + storage<T> * std::abs(expected))
              << row << " " << i << " of " << width;
        }
        const auto at_target = static_cast<std::int64_t>(chosen);
        const double expected = scale * slope(x, at_target, loss);
        ASSERT_NEAR(
            gradient[row * width + at_target], expected,
            scale * (tolerance + term * rounding + slope_error) + storage<T> * std::abs(expected));
      }
    }
  });
}

TEST(Rows, TheLargestLogitMayBeAnywhere) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      // 200 above the rest: the loss is 0 or 200, and infinite if the largest is not subtracted.
      for (std::int64_t place = 0; place < width; place += 1 + width / 40) {
        std::vector<T> logits(static_cast<std::size_t>(width), element<T>(-300.0F));
        logits[static_cast<std::size_t>(place)] = element<T>(-100.0F);
        double loss = 0;
        loops.cross_entropy(logits.data(), &place, &loss, 1, width);
        ASSERT_EQ(loss, 0) << place << " of " << width;
        if (width == 1) continue;
        const std::int64_t other = (place + 1) % width;
        loops.cross_entropy(logits.data(), &other, &loss, 1, width);
        ASSERT_EQ(loss, 200) << place << " of " << width;
      }
    }
  });
}

}  // namespace
}  // namespace penstock::kernels::rows
