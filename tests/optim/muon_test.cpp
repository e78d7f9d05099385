#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>

#include "base/error.h"
#include "optim/helpers.h"

namespace penstock::optim {
namespace {

using tests::GoldenUpdates;
using tests::optimizer;
using tests::worst_error;

// Twelve updates round the weights 24 times: 1.4e-6 of their norm. Newton-Schulz amplifies fp32
// noise (some 4 roundings of its start) up to 3.4445^5 = 485 times: 1.2e-4 of an update at worst,
// in the directions of the smallest singular values only. An update is lr * scale <= 0.05 of a
// weight or less, and learning rates sum to 0.36, so that all updates together are about a third of
// the weights: 0.36 * 1.2e-4 = 4e-5 if every direction were as bad; one in ten at most is, and the
// updates' errors are independent: below 1e-5. Wrong code is off by 1e-4 or more
// (tests/golden/README.md).
constexpr double tolerance = 1e-5;

using Case = std::tuple<const char*, const char*>;

class MuonTest : public testing::TestWithParam<Case> {};

TEST_P(MuonTest, FollowsTheRuleInDoublePrecision) {
  const auto [shape, scale] = GetParam();
  const GoldenUpdates golden;
  const auto muon = optimizer("muon", {{"scale", std::string(scale)}});
  const at::Tensor after = golden.run(shape, *muon, muon->weight_decay());
  EXPECT_LT(worst_error(after, golden[std::string(shape) + ".muon_" + scale]), tolerance);
}

INSTANTIATE_TEST_SUITE_P(ShapesAndScales, MuonTest,
                         testing::Values(Case("tall", "match_rms_adamw"),
                                         Case("wide", "match_rms_adamw"),
                                         Case("square", "match_rms_adamw"),
                                         Case("tall", "original"), Case("wide", "original"),
                                         Case("tall", "spectral"), Case("wide", "spectral")));

class MuonBf16Test : public testing::TestWithParam<const char*> {};

TEST_P(MuonBf16Test, FollowsTorchsMuon) {
  const std::string shape = GetParam();
  const GoldenUpdates golden;
  const auto muon = optimizer("muon", {{"ns_precision", std::string("bf16")}});
  const at::Tensor after = golden.run(shape, *muon, muon->weight_decay());
  const at::Tensor start = golden[shape + ".weight"].to(at::kDouble);
  // Compared on the way travelled, not on the weights, which hardly move. Both round to bf16 (2^-8)
  // at every step, not at the same places: each is within 1 % of the exact way after the first
  // updates (tests/golden/README.md), so they are within 2 % of each other. A first update has
  // nothing to average over: twice that.
  const at::Tensor torch = golden[shape + ".muon_torch_bf16"].to(at::kDouble) - start;
  EXPECT_LT(worst_error(after.to(at::kDouble) - start, torch), 0.04);
  EXPECT_LT(worst_error((after.to(at::kDouble) - start).narrow(0, 11, 1), torch.narrow(0, 11, 1)),
            0.02);
  // and bf16 it is
  const at::Tensor exact = golden[shape + ".muon_match_rms_adamw"] - start;
  EXPECT_GT(worst_error(after.to(at::kDouble) - start, exact), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Shapes, MuonBf16Test, testing::Values("tall", "wide", "square"));

TEST(Muon, NesterovAndMomentumAreUsed) {
  const GoldenUpdates golden;
  const auto run = [&](const tests::Options& options) {
    return golden.run("square", *optimizer("muon", options), 0.1);
  };
  const at::Tensor expected = run({});
  EXPECT_GT(worst_error(run({{"nesterov", false}}), expected), 5e-4);
  EXPECT_GT(worst_error(run({{"momentum", 0.9}}), expected), 5e-4);
  EXPECT_EQ(optimizer("muon", {{"lr", 0.7}})->peak_lr(), 0.7);
  EXPECT_EQ(optimizer("muon", {{"weight_decay", 0.3}})->weight_decay(), 0.3);
}

TEST(Muon, NesterovIsALeadOfTheMomentum) {
  const GoldenUpdates golden;
  for (const char* const name : {"muon", "normuon"}) {
    const auto run = [&](bool nesterov, double lead) {
      return golden.run("wide", *optimizer(name, {{"nesterov", nesterov}, {"lead", lead}}), 0.1);
    };
    EXPECT_TRUE(at::equal(run(true, 0), run(false, 0.95))) << name;
    EXPECT_TRUE(at::allclose(run(true, 1.05), run(false, 2), 1e-4, 1e-5)) << name;
    EXPECT_GT(worst_error(run(true, 1.05), run(true, 0)), 5e-4) << name;
  }
}

TEST(Muon, ALeadIsWhatItsFormulaSays) {
  // G and H of one direction each: after G and H the momentum is b (1-b) G + (1-b) H; with a lead L
  // the direction is that plus L (1-b) (H - (1-b) G), and only ratios matter to the polar factor.
  const double b = 0.5;
  const double lead = 3;
  const auto muon = optimizer("muon", {{"momentum", b}, {"nesterov", false}, {"lead", lead}});
  const at::Tensor g = at::eye(2);
  const at::Tensor h = at::tensor({1.0F, 2.0F, 0.5F, -1.0F}).view({2, 2});
  State state = muon->init(g);
  muon->update(g, state, {.step = 1, .lr = 1});
  const at::Tensor u = muon->update(h, state, {.step = 2, .lr = 1});
  const at::Tensor direction = b * (1 - b) * g + (1 - b) * h + lead * (1 - b) * (h - (1 - b) * g);
  const auto fresh = optimizer("muon", {{"momentum", 0.0}, {"nesterov", false}});
  State none = fresh->init(g);
  const at::Tensor expected = fresh->update(direction, none, {.step = 1, .lr = 1});
  EXPECT_TRUE(at::allclose(u, expected, 1e-4, 1e-5));
}

TEST(Muon, WithoutNesterovItOrthogonalisesTheMomentum) {
  // With the same gradient in every update the direction is the gradient's, whatever its weight.
  const GoldenUpdates golden;
  const at::Tensor gradient = golden["wide.grads"][0];
  const auto plain = optimizer("muon", {{"nesterov", false}});
  const auto nesterov = optimizer("muon");
  State plain_state = plain->init(gradient);
  State nesterov_state = nesterov->init(gradient);
  for (std::int64_t step = 1; step <= 3; ++step) {
    const at::Tensor u = plain->update(gradient, plain_state, {step, 0.1});
    const at::Tensor v = nesterov->update(gradient, nesterov_state, {step, 0.1});
    EXPECT_LT((u - v).norm().item<double>(), 2e-4 * u.norm().item<double>());
  }
}

TEST(Muon, DefaultsAndWhatItTakes) {
  const auto options = tests::component(registry(), "muon", {}).options;
  EXPECT_EQ(options.at("momentum"), config::Value(0.95));
  EXPECT_EQ(options.at("nesterov"), config::Value(true));
  EXPECT_EQ(options.at("scale"), config::Value(std::string("match_rms_adamw")));
  EXPECT_EQ(options.at("ns_precision"), config::Value(std::string("fp32")));
  EXPECT_EQ(options.at("ns_coefficients"), config::Value(std::string("classic")));
  EXPECT_EQ(options.at("ns_steps"), config::Value(std::int64_t{5}));
  EXPECT_EQ(options.at("weight_decay"), config::Value(0.1));
  EXPECT_TRUE(muon().spec.takes_matrices_only);
}

TEST(Muon, StateIsFourBytesPerParameterAndContinuesWithTheSameBits) {
  const GoldenUpdates golden;
  const auto first = optimizer("muon");
  const at::Tensor gradients = golden["tall.grads"];
  State state = first->init(gradients[0]);
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : state.tensors) bytes += tensor.nbytes();
  EXPECT_EQ(bytes, 4U * static_cast<std::size_t>(gradients[0].numel()));

  for (std::int64_t k = 0; k < 6; ++k) first->update(gradients[k], state, {k + 1, golden.lr(k)});
  State saved;
  for (const auto& [name, tensor] : state.tensors) saved.tensors[name] = tensor.clone();
  const auto second = optimizer("muon");
  for (std::int64_t k = 6; k < 12; ++k) {
    const UpdateContext context{k + 1, golden.lr(k)};
    EXPECT_TRUE(at::equal(second->update(gradients[k], saved, context),
                          first->update(gradients[k], state, context)));
  }
}

TEST(Muon, LeavesTheGradientAlone) {
  // The original implementation overwrites it.
  for (const bool nesterov : {true, false}) {
    const GoldenUpdates golden;
    const auto muon = optimizer("muon", {{"nesterov", nesterov}});
    const at::Tensor gradient = golden["tall.grads"][0].clone();
    State state = muon->init(gradient);
    at::Tensor u = muon->update(gradient, state, {.step = 1, .lr = 0.1});
    EXPECT_TRUE(at::equal(gradient, golden["tall.grads"][0]));
    const at::Tensor momentum = state.tensors.at("momentum").clone();
    u.fill_(7);  // the caller's to change
    EXPECT_TRUE(at::equal(state.tensors.at("momentum"), momentum));
  }
}

TEST(Muon, RefusesOptionsOutOfRange) {
  EXPECT_THROW(optimizer("muon", {{"momentum", 1.0}}), UserError);
  EXPECT_THROW(optimizer("muon", {{"lr", 0.0}}), UserError);
  EXPECT_THROW(optimizer("muon", {{"scale", std::string("rms")}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
