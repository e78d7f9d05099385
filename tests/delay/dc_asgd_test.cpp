#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::delay {
namespace {

using tests::correction;
using tests::normal;

const tests::Options adaptive{{"variant", std::string("adaptive")}};

double worst(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs() / b.abs().clamp_min(1)).max().item<double>();
}

TEST(DcAsgd, FixedFollowsItsFormula) {
  const auto dc_asgd = correction("dc_asgd");
  optim::State state = dc_asgd->init(at::zeros({31}));
  const at::Tensor g = normal({31}, "g"), w = normal({31}, "w"), seen = normal({31}, "seen");
  const at::Tensor moved = dc_asgd->gradient(g, w, seen, state, {.delay = 1});
  EXPECT_LT(worst(moved, g + 0.04 * g.pow(2) * (w - seen)), 1e-14);
  EXPECT_GT(worst(moved, g), 1e-3);
  EXPECT_TRUE(state.tensors.empty());
  const auto stronger = correction("dc_asgd", {{"lambda", 0.08}});
  EXPECT_LT(worst(stronger->gradient(g, w, seen, state, {.delay = 1}) - g, 2 * (moved - g)), 1e-14);
}

TEST(DcAsgd, AdaptiveFollowsItsFormula) {
  for (const double decay : {0.95, 0.5}) {
    tests::Options options = adaptive;
    options["decay"] = decay;
    options["lambda0"] = 1.5;
    const auto dc_asgd = correction("dc_asgd", options);
    optim::State state = dc_asgd->init(at::zeros({31}, at::kDouble));
    std::vector<at::Tensor> seen_gradients;
    for (int k = 0; k < 12; ++k) {
      const std::string n = std::to_string(k);
      const at::Tensor g = normal({31}, "g" + n), w = normal({31}, "w" + n);
      const at::Tensor seen = normal({31}, "seen" + n);
      seen_gradients.push_back(g);
      at::Tensor average = at::zeros_like(g);
      for (int i = 0; i <= k; ++i) {
        average += (1 - decay) * std::pow(decay, k - i) * seen_gradients[i].pow(2);
      }
      const at::Tensor expected = g + 1.5 / (average + 1e-7).sqrt() * g * g * (w - seen);
      const auto moved = dc_asgd->gradient(g, w, seen, state, {.delay = k % 2 + 1});
      EXPECT_LT(worst(moved, expected), 1e-12) << decay << ", update " << k;
    }
  }
}

TEST(DcAsgd, WithoutDelayTheGradientStaysAlsoBesideRoundedWeights) {
  for (const tests::Options& options : {tests::Options{}, adaptive}) {
    const auto dc_asgd = correction("dc_asgd", options);
    const at::Tensor g = normal({31}, "g"), w = normal({31}, "w");
    const at::Tensor rounded = w.to(at::kBFloat16).to(at::kDouble);
    optim::State state = dc_asgd->init(w);
    EXPECT_TRUE(at::equal(dc_asgd->gradient(g, w, rounded, state, {.delay = 0}), g));
    EXPECT_FALSE(at::equal(dc_asgd->gradient(g, w, rounded, state, {.delay = 1}), g));
  }
}

TEST(DcAsgd, OnAQuadraticOfMatchingCurvatureTheGradientIsThatOfTheNewestWeights) {
  // f = h x^2 / 2 at x_seen where h = lambda g^2: the first-order step is exact.
  const auto dc_asgd = correction("dc_asgd", {{"lambda", 0.5}});
  optim::State state = dc_asgd->init(at::zeros({1}));
  const double g = 3, h = 0.5 * g * g, seen = g / h, newest = 0.25;
  const auto moved =
      dc_asgd->gradient(at::full({1}, g, at::kDouble), at::full({1}, newest, at::kDouble),
                        at::full({1}, seen, at::kDouble), state, {.delay = 1});
  EXPECT_NEAR(moved.item<double>(), h * newest, 1e-15);
}

TEST(DcAsgd, AdaptiveKeepsFourBytesPerParameterAndContinuesWithTheSameBits) {
  const auto dc_asgd = correction("dc_asgd", adaptive);
  const at::Tensor weight = at::ones({3, 5});
  EXPECT_EQ(tests::state_bytes_per_element(dc_asgd->init(weight), weight), 4);
  tests::expect_continues(*tests::optimizer("adamw"), *dc_asgd, {33, 33});
}

TEST(DcAsgd, RefusesOptionsOutOfRange) {
  EXPECT_THROW(correction("dc_asgd", {{"lambda", -0.1}}), UserError);
  EXPECT_THROW(correction("dc_asgd", {{"lambda", std::nan("")}}), UserError);
  EXPECT_THROW(correction("dc_asgd", {{"decay", 1.0}}), UserError);
  EXPECT_THROW(correction("dc_asgd", {{"variant", std::string("exact")}}), UserError);
}

}  // namespace
}  // namespace penstock::delay
