// How large a learning rate the corrections bear on f(x) = h x^2 / 2 with an averaged gradient,
// m <- b m + (1 - b) g, u = lr m: the exact limits of lr * h, through the classes that train
// models. Source of the limits: the roots of z^2 - (1+b-(1-b)a) z + b (synchronous), z^2 - (1+b) z
// + b + (1-b) a (delay 1), z^3 - (1+b) z^2 + (b + 2 (1-b) a) z - (1-b) a (with error feedback), a =
// lr h, leave the unit circle there.

#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <vector>

#include "optim/helpers.h"

namespace penstock::delay {
namespace {

class EmaMomentum final : public optim::Optimizer {
 public:
  explicit EmaMomentum(double momentum) : momentum_(momentum) {}

  optim::State init(const at::Tensor& weight) const override {
    return {{"m", at::zeros_like(weight)}};
  }
  at::Tensor update(const at::Tensor& gradient, optim::State& state,
                    const optim::UpdateContext& context) const override {
    return state.at("m").lerp_(gradient, 1 - momentum_).mul(context.lr);
  }
  double peak_lr() const override { return 0; }
  double weight_decay() const override { return 0; }

 private:
  double momentum_;
};

struct Case {
  int gradient_delay;
  const char* correction;
  double momentum;
  double limit;  // of lr * h
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "delay " << c.gradient_delay << ", " << c.correction << ", b = " << c.momentum;
}

class StabilityTest : public testing::TestWithParam<Case> {};

/// Runs each learning rate for itself, as one element of the weights: element i has the curvature
/// curvatures[i]. Returns, for each, the largest |x| of the last tenth of the run over that of the
/// first tenth; infinite or NaN where it overflowed.
std::vector<double> growth(const Case& c, const std::vector<double>& curvatures) {
  const auto count = static_cast<std::int64_t>(curvatures.size());
  const at::Tensor h = at::tensor(curvatures, at::kDouble);
  const EmaMomentum optimizer(c.momentum);
  const auto correction = tests::correction(c.correction);
  at::Tensor x = at::ones({count}, at::kDouble);
  at::Tensor seen = x.clone();  // the weights of the gradient: one update old under delay
  engine::ParameterUpdater updater(optimizer, *correction, 0, x);
  // Near its limit a mode grows or shrinks by some (1 - b) / 200 per update, or faster.
  const auto steps = static_cast<std::int64_t>(1000 / (1 - c.momentum));
  std::vector<double> first(curvatures.size());
  std::vector<double> last(curvatures.size());
  for (std::int64_t t = 0; t < steps; ++t) {
    const at::Tensor gradient = h * (c.gradient_delay == 1 ? seen : x);
    seen.copy_(x);
    updater.apply(gradient, {.step = t + 1, .lr = 0.5}, x, x);
    auto* window = t < steps / 10 ? &first : (t >= steps - steps / 10 ? &last : nullptr);
    if (window == nullptr) continue;
    for (std::size_t i = 0; i < curvatures.size(); ++i) {
      const double size = std::abs(x.const_data_ptr<double>()[i]);
      if (!(size <= (*window)[i])) (*window)[i] = size;
    }
  }
  for (std::size_t i = 0; i < last.size(); ++i) last[i] /= first[i];
  return last;
}

TEST_P(StabilityTest, ShrinksBelowTheLimitAndGrowsAboveIt) {
  const Case c = GetParam();
  constexpr double lr = 0.5;
  const auto ratio = growth(c, {0.9 * c.limit / lr, 0.99 * c.limit / lr, 1.01 * c.limit / lr});
  EXPECT_LT(ratio[0], 1e-3);
  EXPECT_LT(ratio[1], 0.1);
  EXPECT_FALSE(ratio[2] < 10) << "grew by " << ratio[2];
}

INSTANTIATE_TEST_SUITE_P(Limits, StabilityTest,
                         testing::Values(Case{0, "none", 0, 2.0}, Case{0, "none", 0.9, 38.0},
                                         Case{0, "none", 0.95, 78.0}, Case{0, "none", 0.99, 398.0},
                                         Case{1, "none", 0, 1.0}, Case{1, "none", 0.9, 1.0},
                                         Case{1, "none", 0.95, 1.0}, Case{1, "none", 0.99, 1.0},
                                         Case{1, "error_feedback", 0, 0.618},
                                         Case{1, "error_feedback", 0.9, 2.702},
                                         Case{1, "error_feedback", 0.95, 4.0},
                                         Case{1, "error_feedback", 0.99, 9.51}));

}  // namespace
}  // namespace penstock::delay
