#include <gtest/gtest.h>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::optim {
namespace {

using tests::Decay;
using tests::GoldenUpdates;
using tests::History;
using tests::optimizer;
using tests::worst_error;

/// The buffer as a sum over all gradients.
double buffer(const History& h, double dampening) {
  double sum = 0;
  for (std::size_t i = 0; i < h.g.size(); ++i) {
    double term = i == 0 ? h.g[i] : (1 - dampening) * h.g[i];
    for (std::size_t j = i + 1; j < h.g.size(); ++j) term *= h.momentum[j];
    sum += term;
  }
  return sum;
}

TEST(Sgd, FollowsTorch) {
  const GoldenUpdates golden;
  const auto error = [&](const char* shape, const char* name, const tests::Options& options) {
    return worst_error(golden.run(shape, *optimizer("sgd", options), 0.1),
                       golden[std::string(shape) + "." + name]);
  };
  for (const char* shape : {"tall", "wide", "square", "vector"}) {
    EXPECT_LT(error(shape, "sgd", {}), tests::fp32_tolerance) << shape;
    EXPECT_LT(error(shape, "sgd_nesterov", {{"nesterov", true}}), tests::fp32_tolerance) << shape;
  }
  EXPECT_LT(error("tall", "sgd_dampened", {{"dampening", 0.3}}), tests::fp32_tolerance);
  EXPECT_GT(error("tall", "sgd_dampened", {}), 0.1);
  EXPECT_GT(error("tall", "sgd", {{"nesterov", true}}), 0.1);
  EXPECT_GT(error("tall", "sgd", {{"decay", std::string("decoupled")}}), 1e-3);
}

TEST(Sgd, FollowsItsTranscription) {
  tests::expect_follows({.optimizer = "sgd",
                         .momentum = 0.9,
                         .update = [](const History& h) { return h.lr * buffer(h, 0); },
                         .decay = Decay::coupled});
  tests::expect_follows({.optimizer = "sgd",
                         .options = {{"dampening", 0.4}, {"decay", std::string("decoupled")}},
                         .momentum = 0.9,
                         .update = [](const History& h) { return h.lr * buffer(h, 0.4); }});
  tests::expect_follows(
      {.optimizer = "sgd",
       .options = {{"nesterov", true}, {"momentum", 0.8}},
       .momentum = 0.8,
       .update =
           [](const History& h) { return h.lr * (h.g.back() + h.momentum.back() * buffer(h, 0)); },
       .decay = Decay::coupled});
}

TEST(Sgd, WithoutMomentumItIsGradientDescentWhateverTheDampening) {
  const auto sgd = optimizer("sgd", {{"momentum", 0.0}, {"dampening", 0.5}});
  const at::Tensor gradient = at::tensor({3.0F, -2.0F});
  State state = sgd->init(gradient);
  for (std::int64_t step = 1; step <= 3; ++step) {
    EXPECT_TRUE(at::equal(sgd->update(gradient, state, {step, 0.5}), gradient * 0.5)) << step;
  }
}

TEST(Sgd, CoupledDecayIsPartOfTheUpdateAndDecoupledDecayOfKeep) {
  const UpdateContext context{.lr = 0.5, .weight_decay = 0.1};
  EXPECT_TRUE(optimizer("sgd")->couples_weight_decay());
  EXPECT_EQ(optimizer("sgd")->keep(context), 1);
  const auto decoupled = optimizer("sgd", {{"decay", std::string("decoupled")}});
  EXPECT_FALSE(decoupled->couples_weight_decay());
  EXPECT_EQ(decoupled->keep(context), 0.95);
}

TEST(Sgd, EveryOptionIsUsed) {
  tests::expect_uses("sgd", {},
                     {{"momentum", 0.8},
                      {"dampening", 0.2},
                      {"nesterov", true},
                      {"decay", std::string("decoupled")}});
}

TEST(Sgd, StateIsFourBytesPerParameterAndContinuesWithTheSameBits) {
  const auto sgd = optimizer("sgd", {{"dampening", 0.3}});
  const at::Tensor weight = at::ones({5, 7});
  EXPECT_EQ(tests::state_bytes_per_element(sgd->init(weight), weight), 4);
  tests::expect_continues(*sgd, *tests::correction("error_feedback"), {33, 33});
}

TEST(Sgd, PassesNanOn) { tests::expect_nan_passes_on(*optimizer("sgd")); }

TEST(Sgd, RefusesOptionsOutOfRange) {
  EXPECT_THROW(optimizer("sgd", {{"momentum", 1.0}}), UserError);
  EXPECT_THROW(optimizer("sgd", {{"dampening", -0.1}}), UserError);
  EXPECT_THROW(optimizer("sgd", {{"decay", std::string("none")}}), UserError);
  try {
    optimizer("sgd", {{"nesterov", true}, {"dampening", 0.25}});
    FAIL() << "took both";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[config] sgd: nesterov goes without dampening, but dampening = 0.25; set "
                 "dampening = 0 or nesterov = false");
  }
}

}  // namespace
}  // namespace penstock::optim
