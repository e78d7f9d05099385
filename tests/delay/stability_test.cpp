// How large a learning rate the corrections bear on f(x) = h x^2 / 2 with an averaged gradient,
// m <- b m + (1 - b) g, u = lr m: the exact limits of lr * h, through the classes that train
// models. Source of the limits: the roots of z^2 - (1+b-(1-b)a) z + b (synchronous), z^2 - (1+b) z
// + b + (1-b) a (delay 1), z^3 - (1+b) z^2 + (b + 2 (1-b) a) z - (1-b) a (with error feedback), a =
// lr h, leave the unit circle there. With lambda = 2 b / (2 - b)^2 the limit of error feedback is
// the highest, (2 - b)^2 / (4 (1 - b)); studies/correction/quadratic.py derives and checks it.

#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "optim/helpers.h"

namespace penstock::delay {
namespace {

class EmaMomentum final : public optim::Optimizer {
 public:
  explicit EmaMomentum(double momentum) : momentum_(momentum) {}

  optim::State init(const at::Tensor& weight) const override {
    return {{{"m", at::zeros_like(weight)}}, {}};
  }
  at::Tensor update(const at::Tensor& gradient, optim::State& state,
                    const optim::UpdateContext& context) const override {
    return state.tensors.at("m").lerp_(gradient, 1 - momentum_).mul(context.lr);
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
  double limit;       // of lr * h
  double lambda = 1;  // of error feedback
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "delay " << c.gradient_delay << ", " << c.correction << ", b = " << c.momentum;
}

class StabilityTest : public testing::TestWithParam<Case> {};

/// Runs each learning rate for itself: element i has the curvature curvatures[i]. Returns, for
/// each, the largest |x| of the last tenth of the run over that of the first tenth; infinite or NaN
/// where it overflowed.
std::vector<double> growth(const Case& c, const optim::Optimizer& optimizer, double lr,
                           const std::vector<double>& curvatures, double start = 1) {
  const auto count = static_cast<std::int64_t>(curvatures.size());
  const at::Tensor h = at::tensor(curvatures, at::kDouble).view({1, count});
  const auto correction = c.correction == std::string("error_feedback")
                              ? tests::correction(c.correction, {{"lambda", c.lambda}})
                              : tests::correction(c.correction);
  at::Tensor x = at::full({1, count}, start, at::kDouble);
  at::Tensor seen = x.clone();  // the weights of the gradient: one update old under delay
  engine::ParameterUpdater updater(optimizer, *correction, 0, x);
  // Near its limit a mode grows or shrinks by some (1 - b) / 200 per update, or faster.
  const auto steps = static_cast<std::int64_t>(1000 / (1 - c.momentum));
  std::vector<double> first(curvatures.size());
  std::vector<double> last(curvatures.size());
  for (std::int64_t t = 0; t < steps; ++t) {
    const at::Tensor gradient = h * (c.gradient_delay == 1 ? seen : x);
    seen.copy_(x);
    updater.apply({.values = gradient, .delay = c.gradient_delay}, {.step = t + 1, .lr = lr},
                  {x, x});
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
  const auto ratio = growth(c, EmaMomentum(c.momentum), lr,
                            {0.9 * c.limit / lr, 0.99 * c.limit / lr, 1.01 * c.limit / lr});
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
                                         Case{1, "error_feedback", 0.9, 3.025, 1.8 / 1.21},
                                         Case{1, "error_feedback", 0.95, 5.5125, 1.9 / 1.1025},
                                         Case{1, "error_feedback", 0.95, 4.0},
                                         Case{1, "error_feedback", 0.99, 9.51}));

// ---- linear filters ----

/// Coefficients, the constant first.
using Polynomial = std::vector<double>;

Polynomial operator*(const Polynomial& a, const Polynomial& b) {
  Polynomial result(a.size() + b.size() - 1);
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < b.size(); ++j) result[i + j] += a[i] * b[j];
  }
  return result;
}

Polynomial operator+(Polynomial a, const Polynomial& b) {
  a.resize(std::max(a.size(), b.size()));
  for (std::size_t i = 0; i < b.size(); ++i) a[i] += b[i];
  return a;
}

/// All roots of a polynomial with leading coefficient 1 are improved at once (Durand, Kerner).
double largest_root(const Polynomial& p) {
  using Complex = std::complex<double>;
  const std::size_t degree = p.size() - 1;
  std::vector<Complex> roots(degree);
  for (std::size_t i = 0; i < degree; ++i) {
    roots[i] = std::pow(Complex(0.4, 0.9), static_cast<double>(i));
  }
  for (int round = 0; round < 500; ++round) {
    for (std::size_t i = 0; i < degree; ++i) {
      Complex value = 0;
      for (std::size_t k = degree + 1; k-- > 0;) value = value * roots[i] + p[k];
      for (std::size_t j = 0; j < degree; ++j) {
        if (j != i) value /= roots[i] - roots[j];
      }
      roots[i] -= value;
    }
  }
  double largest = 0;
  for (const Complex& root : roots) largest = std::max(largest, std::abs(root));
  return largest;
}

struct Filter {
  const char* optimizer;
  tests::Options options;
  Polynomial numerator, denominator;
  double momentum;
};

/// The largest a below which every a is stable.
double limit(const Filter& f, int delay, double lambda) {
  Polynomial shift(static_cast<std::size_t>(delay) + 2);
  shift.back() = 1;
  const Polynomial still = Polynomial{-1, 1} * shift * f.denominator;
  const Polynomial moving = f.numerator * Polynomial{-lambda, 1 + lambda};
  const auto stable = [&](double a) {
    return largest_root(still + moving * Polynomial{a}) < 1 + 1e-12;
  };
  double low = 0;
  double high = 0.01;
  for (; stable(high); high *= 1.05) low = high;
  for (int i = 0; i < 40; ++i) (stable((low + high) / 2) ? low : high) = (low + high) / 2;
  return low;
}

// So far above sqrt(v) that an Adam is the filter in its numerator; lr makes up for it.
constexpr double huge_eps = 1e60;

const std::vector<Filter>& filters() {
  constexpr double b = 0.7;
  constexpr double c = 0.6;  // Adan's beta2
  constexpr double change = 0.2 * b / (1 - b);
  const Polynomial average{-b, 1};
  static const std::vector<Filter> all{
      {"sgd", {{"momentum", b}}, {0, 1}, average, b},
      {"sgd", {{"momentum", b}, {"nesterov", true}}, {-b, 1 + b}, average, b},
      {"adamw", {{"beta1", b}, {"eps", huge_eps}}, {0, 1 - b}, average, b},
      // psi so large that the momentum of the look-ahead is b at once
      {"nadamw",
       {{"beta1", b}, {"eps", huge_eps}, {"psi", 1e4}},
       Polynomial{0, b * (1 - b)} + Polynomial{1 - b} * average,
       average,
       b},
      {"adan",
       {{"beta1", b}, {"beta2", c}, {"eps", huge_eps}},
       Polynomial{0, 1 - b} * Polynomial{-c, 1} +
           Polynomial{c * (1 - c)} * Polynomial{-1, 1} * average,
       average * Polynomial{-c, 1},
       b},
      {"mars",
       {{"beta1", b}, {"gamma", 0.2}, {"eps", huge_eps}},
       Polynomial{1 - b} * Polynomial{-change, 1 + change},
       average,
       b}};
  return all;
}

TEST(Stability, TheRootsAgreeWithTheTable) {
  // the filter of EmaMomentum against the limits above, which are rounded to four digits
  const auto of = [](double b, int delay, double lambda) {
    return limit({"", {}, {0, 1 - b}, {-b, 1}, b}, delay, lambda);
  };
  EXPECT_NEAR(of(0.9, 0, 0), 38, 1e-6);
  EXPECT_NEAR(of(0.9, 1, 0), 1, 1e-6);
  EXPECT_NEAR(of(0.9, 1, 1), 2.702, 1e-3);
  EXPECT_NEAR(of(0, 1, 1), 0.618, 1e-3);
}

class FilterTest : public testing::TestWithParam<std::size_t> {};

TEST_P(FilterTest, ShrinksBelowTheLimitAndGrowsAboveIt) {
  const Filter& f = filters().at(GetParam());
  const auto optimizer = tests::optimizer(f.optimizer, f.options);
  constexpr double lr = 0.5;
  const double scale = f.options.contains("eps") ? huge_eps : 1;
  constexpr double start = 1e-60;  // room to grow before MARS limits the gradient's norm to 1
  for (const Case& c :
       {Case{0, "none", f.momentum, 0}, Case{1, "none", f.momentum, 0},
        Case{1, "error_feedback", f.momentum, 0}, Case{1, "weight_prediction", f.momentum, 0}}) {
    const double a = limit(f, c.gradient_delay, std::string(c.correction) == "none" ? 0 : 1);
    for (const double part : {0.9, 0.99, 1.01}) {
      const double ratio = growth(c, *optimizer, lr * scale, {part * a / lr}, start).front();
      const bool as_predicted = part > 1 ? !(ratio < 10) : ratio < (part == 0.9 ? 1e-3 : 0.1);
      EXPECT_TRUE(as_predicted) << testing::PrintToString(c) << ", " << part << " of the limit "
                                << a << ": grew by " << ratio;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, FilterTest, testing::Range<std::size_t>(0, filters().size()),
                         [](const auto& test) {
                           return std::string(filters().at(test.param).optimizer) + "_" +
                                  std::to_string(test.param);
                         });

// ---- signs ----

/// The last places of x on f(x) = x^2 / 2, in units of the learning rate 2^-2, so that all is
/// exact.
std::vector<double> last_places(const char* optimizer, const tests::Options& options, int delay,
                                const char* correction) {
  const auto rule = tests::optimizer(optimizer, options);
  const auto corrected = tests::correction(correction);
  constexpr double lr = 0.25;
  at::Tensor x = at::full({1}, 10.25 * lr);
  at::Tensor seen = x.clone();
  engine::ParameterUpdater updater(*rule, *corrected, 0, x);
  std::vector<double> places;
  for (std::int64_t t = 0; t < 48; ++t) {
    const at::Tensor gradient = (delay == 1 ? seen : x).clone();
    seen.copy_(x);
    updater.apply({.values = gradient, .delay = delay}, {.step = t + 1, .lr = lr}, {x, x});
    if (t >= 36) places.push_back(x.item<double>() / lr);
  }
  return places;
}

/// Whether `places` repeats `cycle`, beginning anywhere in it.
bool repeats(const std::vector<double>& places, const std::vector<double>& cycle) {
  for (std::size_t start = 0; start < cycle.size(); ++start) {
    bool same = true;
    for (std::size_t i = 0; i < places.size(); ++i) {
      same = same && places[i] == cycle[(start + i) % cycle.size()];
    }
    if (same) return true;
  }
  return false;
}

TEST(Signs, EndInTheirExactCycles) {
  // Without momentum Signum and Lion step by lr towards the minimum. One update late they go on for
  // another step behind it: 1.75 lr instead of 0.75 lr away. Error feedback, which turns by 3 lr
  // where the sign changes, makes that 2.25 lr: as with every rule without momentum, it hurts.
  const std::pair<const char*, tests::Options> rules[] = {{"signum", {{"beta", 0.0}}},
                                                          {"lion", {{"beta1", 0.0}}}};
  for (const auto& [name, options] : rules) {
    EXPECT_TRUE(repeats(last_places(name, options, 0, "none"), {0.25, -0.75})) << name;
    EXPECT_TRUE(
        repeats(last_places(name, options, 1, "none"), {0.25, -0.75, -1.75, -0.75, 0.25, 1.25}))
        << name;
    for (const char* correction : {"error_feedback", "weight_prediction"}) {
      EXPECT_TRUE(repeats(last_places(name, options, 1, correction), {-0.75, -1.75, 1.25, 2.25}))
          << name << testing::PrintToString(last_places(name, options, 1, correction));
    }
  }
}

TEST(Signs, MomentumTurnsLater) {
  const auto reach = [](const char* name, const tests::Options& options) {
    const auto places = last_places(name, options, 1, "none");
    return std::max(*std::ranges::max_element(places), -*std::ranges::min_element(places));
  };
  EXPECT_GT(reach("signum", {{"beta", 0.9}}), 2);
  // Lion's newest gradient outweighs its average where beta1 is small
  EXPECT_LT(reach("lion", {{"beta1", 0.1}}), reach("signum", {{"beta", 0.9}}));
}

}  // namespace
}  // namespace penstock::delay
