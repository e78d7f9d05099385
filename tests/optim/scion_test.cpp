#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "optim/matrix_runs.h"

namespace penstock::optim {
namespace {

using tests::Changes;
using tests::compare;
using tests::make;
using tests::MatrixShape;
using tests::PlainRule;

struct Rule {
  double kept = 0.9;
  double radius = 50;
  bool sign = false;
  bool by_out = false;  // wrong
};

PlainRule plain(const Rule& rule) {
  return [rule, buffer = at::Tensor()](const at::Tensor& g, std::int64_t, double lr) mutable {
    buffer = (buffer.defined() ? rule.kept * buffer : at::zeros_like(g)) + (1 - rule.kept) * g;
    const auto out = static_cast<double>(g.size(0));
    const auto in = static_cast<double>(g.size(1));
    if (!rule.sign) {
      return lr * rule.radius * std::sqrt(rule.by_out ? in / out : out / in) *
             tests::quintic_steps(buffer);
    }
    at::Tensor u = at::empty_like(g);
    for (std::int64_t i = 0; i < g.size(0); ++i) {
      for (std::int64_t j = 0; j < g.size(1); ++j) {
        const double x = buffer[i][j].item<double>();
        u[i][j] = (x > 0 ? lr : -lr) * rule.radius / (rule.by_out ? out : in);
      }
    }
    return u;
  };
}

// As for Muon (muon_rule_test.cpp).
constexpr double spectral_tolerance = 4 * 485 * tests::fp32_rounding / 0.7;
// Two roundings, of 1 / c and of its product: signs are exact, and no average is so near 0 that
// fp32 sees another sign.
constexpr double sign_tolerance = 3 * tests::fp32_rounding;

class ScionTest : public testing::TestWithParam<MatrixShape> {};

TEST_P(ScionTest, FollowsTheSpectralRule) {
  const auto deviation = compare(*make(scion()), GetParam(), plain({}));
  EXPECT_LT(std::max(deviation.first, deviation.update), spectral_tolerance);
  EXPECT_LT(deviation.weight, spectral_tolerance);
}

TEST_P(ScionTest, FollowsTheSignRule) {
  const Changes head = {{"norm", std::string("sign")}, {"radius", 3000.0}};
  const auto deviation =
      compare(*make(scion(), head), GetParam(), plain({.radius = 3000, .sign = true}));
  EXPECT_LT(std::max(deviation.first, deviation.update), sign_tolerance);
  EXPECT_LT(deviation.weight, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Shapes, ScionTest, testing::ValuesIn(tests::matrix_shapes),
                         tests::name_of);

TEST(Scion, TheComparisonSeesWrongRules) {
  constexpr MatrixShape tall{24, 7};
  for (const Rule& wrong : {Rule{.kept = 0.89}, Rule{.radius = 49}, Rule{.by_out = true}}) {
    EXPECT_GT(compare(*make(scion()), tall, plain(wrong)).update, 5e-3);
  }
  const auto sign = make(scion(), {{"norm", std::string("sign")}});
  for (const Rule& wrong : {Rule{.kept = 0.7, .sign = true}, Rule{.radius = 49, .sign = true},
                            Rule{.sign = true, .by_out = true}}) {
    EXPECT_GT(compare(*sign, tall, plain(wrong)).update, 5e-3);
  }
}

TEST(Scion, UpdatesHaveTheRadiusInTheirNorm) {
  const at::Tensor gradient = tests::matrix_gradient({5, 33}, 1);
  for (const std::string norm : {"spectral", "sign"}) {
    const auto optimizer = make(scion(), {{"norm", norm}, {"radius", 8.0}});
    State state = optimizer->init(gradient);
    const at::Tensor u =
        optimizer->update(gradient, state, {.step = 1, .lr = 0.25}).to(at::kDouble);
    if (norm == "sign") {
      EXPECT_NEAR(u.abs().max().item<double>() * 33, 2, 1e-6);
      EXPECT_NEAR(u.abs().min().item<double>() * 33, 2, 1e-6);
    } else {
      const auto [left, s, right] = at::linalg_svd(u, false);
      EXPECT_GT(s.min().item<double>() * std::sqrt(33.0 / 5), 2 * 0.65);
      EXPECT_LT(s.max().item<double>() * std::sqrt(33.0 / 5), 2 * 1.25);
    }
  }
}

TEST(Scion, TheDefaultIsTheConstrainedForm) {
  const auto optimizer = make(scion());
  EXPECT_EQ(optimizer->weight_decay(), 1);
  EXPECT_EQ(optimizer->peak_lr(), 0x1p-12);
  EXPECT_EQ(optimizer->peak_momentum(), 0.9);
  EXPECT_EQ(optimizer->keep({.lr = 0.25, .weight_decay = optimizer->weight_decay()}), 0.75);
  EXPECT_TRUE(scion().spec.takes_matrices_only);
}

TEST(Scion, StateIsFourBytesPerParameter) {
  EXPECT_EQ(tests::tensor_bytes(make(scion())->init(at::zeros({24, 7}))), 4 * 24 * 7);
  tests::expect_size_without_memory(scion());
}

TEST(Scion, ContinuesPassesNanOnAndKeepsItsTensorsToItself) {
  for (const std::string norm : {"spectral", "sign"}) {
    const Changes changes = {{"norm", norm}};
    tests::expect_same_bits_after_restoring(scion(), {24, 7}, 12, changes);
    tests::expect_nan_to_pass(scion(), changes);
    tests::expect_tensors_to_be_apart(scion(), changes);
    tests::expect_batch_to_change_nothing(scion(), changes);
    tests::expect_momentum_from_context(scion(), "momentum", changes);
  }
}

TEST(Scion, RefusesOptionsOutOfRange) {
  EXPECT_THROW(make(scion(), {{"radius", 0.0}}), UserError);
  EXPECT_THROW(make(scion(), {{"norm", std::string("nuclear")}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
