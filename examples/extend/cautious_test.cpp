// The rules of cautious.cpp by their formulas, through the registries of the program they are
// linked into, as single tensors and in the sweep that training uses.

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "delay/registry.h"
#include "engine/parameter_updater.h"
#include "optim/registry.h"

namespace penstock {
namespace {

config::ComponentConfig named(const std::string& name,
                              const std::vector<config::OptionSpec>& specs) {
  config::ComponentConfig component{name, {}};
  for (const auto& spec : specs) component.options[spec.key] = *spec.default_value;
  return component;
}

template <class Entries>
config::ComponentConfig component(const Entries& entries, const std::string& name) {
  for (const auto& entry : entries) {
    if (entry.spec.name == name) return named(name, entry.spec.options);
  }
  throw std::runtime_error(name + " is not registered");
}

double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

/// One element by the formulas, in double precision.
struct Element {
  double w = 0, m = 0, previous = 0;

  void update(double g, double lr, bool late) {
    const double c = 0.95 * m + 0.05 * g;
    m = 0.98 * m + 0.02 * g;
    const double u = c * g > 0 ? lr * sign(c) : 0;
    const bool repays = late && u * previous > 0;
    w = w * (1 - lr * 0.3) - (u + (repays ? u - previous : 0));
    previous = u;
  }
};

void expect_formulas(bool in_one_sweep) {
  const auto lion = optim::make(component(optim::registry(), "cautious_lion"));
  const auto feedback = delay::make(component(delay::registry(), "agreeing_feedback"));
  constexpr std::int64_t count = 1030;  // more than a block, and no multiple of a vector
  // A transposed view is not contiguous, so it is updated tensor by tensor.
  at::Tensor weight =
      in_one_sweep ? at::linspace(-1, 1, count).view({count, 1})
                   : at::stack({at::linspace(-1, 1, count), at::zeros({count})}, 1).narrow(1, 0, 1);
  std::vector<Element> elements(count);
  for (std::int64_t i = 0; i < count; ++i) {
    elements[static_cast<std::size_t>(i)].w = weight[i][0].item<double>();
  }
  engine::ParameterUpdater updater(*lion, *feedback, lion->weight_decay(), weight);
  for (std::int64_t k = 0; k < 12; ++k) {
    const double lr = 0.01 * static_cast<double>(12 - k);
    const at::Tensor gradient =
        (at::arange(count) * 0.37 + static_cast<double>(k)).sin().view({-1, 1});
    for (std::int64_t i = 0; i < count; ++i) {
      elements[static_cast<std::size_t>(i)].update(gradient[i][0].item<double>(), lr, k > 0);
    }
    updater.apply({.values = gradient, .delay = k > 0 ? 1 : 0}, {.step = k + 1, .lr = lr},
                  {weight, weight});
  }
  for (std::int64_t i = 0; i < count; ++i) {
    // 12 updates of a few roundings of 6e-8 each; a wrong sign would be off by 0.01.
    EXPECT_NEAR(weight[i][0].item<double>(), elements[static_cast<std::size_t>(i)].w, 1e-5) << i;
  }
}

TEST(Cautious, FollowsItsFormulasInASweep) { expect_formulas(true); }

TEST(Cautious, FollowsItsFormulasTensorByTensor) { expect_formulas(false); }

TEST(Cautious, ThePenstockCommandsKnowIt) {
  EXPECT_GT(optim::registry().size(), 1U);
  EXPECT_EQ(optim::registry().back().spec.name, "cautious_lion");
  EXPECT_EQ(delay::registry().back().spec.name, "agreeing_feedback");
}

}  // namespace
}  // namespace penstock
