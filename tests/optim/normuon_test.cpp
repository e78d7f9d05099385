#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "optim/matrix_runs.h"

namespace penstock::optim {
namespace {

using tests::compare;
using tests::make;
using tests::MatrixShape;
using tests::PlainRule;

struct Rule {
  double mu = 0.95;
  double beta2 = 0.95;
  bool keeps_norm = true;
  bool by_row = true;
  std::string scale = "original";
};

PlainRule plain(const Rule& rule) {
  return [rule, buffer = at::Tensor(), squares = std::vector<double>()](
             const at::Tensor& g, std::int64_t, double lr) mutable {
    buffer = (buffer.defined() ? rule.mu * buffer : at::zeros_like(g)) + (1 - rule.mu) * g;
    at::Tensor o = tests::quintic_steps((1 - rule.mu) * g + rule.mu * buffer);
    if (!rule.by_row) o = o.t();
    const auto rows = static_cast<std::size_t>(o.size(0));
    squares.resize(rows, 0);
    at::Tensor p = o.clone();
    for (std::size_t i = 0; i < rows; ++i) {
      const auto row = static_cast<std::int64_t>(i);
      double mean = 0;
      for (std::int64_t j = 0; j < o.size(1); ++j) mean += std::pow(o[row][j].item<double>(), 2);
      mean /= static_cast<double>(o.size(1));
      squares[i] = rule.beta2 * squares[i] + (1 - rule.beta2) * mean;
      p[row].div_(std::sqrt(squares[i]) + 1e-10);
    }
    if (rule.keeps_norm) p = p * (o.norm() / p.norm());
    if (!rule.by_row) p = p.t();
    const auto r = static_cast<double>(g.size(0));
    const auto c = static_cast<double>(g.size(1));
    double scale = std::sqrt(std::max(1.0, r / c));
    if (rule.scale == "match_rms_adamw") scale = 0.2 * std::sqrt(std::max(r, c));
    return lr * scale * p;
  };
}

// As for Muon; a row may be small and is brought to the others' size with its noise. Twice that.
constexpr double tolerance = 2 * 4 * 485 * tests::fp32_rounding / 0.7;

class NorMuonTest : public testing::TestWithParam<MatrixShape> {};

TEST_P(NorMuonTest, FollowsTheRule) {
  for (const std::string scale : {"original", "match_rms_adamw"}) {
    const auto deviation =
        compare(*make(normuon(), {{"scale", scale}}), GetParam(), plain({.scale = scale}));
    EXPECT_LT(std::max(deviation.first, deviation.update), tolerance) << scale;
    EXPECT_LT(deviation.weight, tolerance) << scale;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, NorMuonTest, testing::ValuesIn(tests::matrix_shapes),
                         tests::name_of);

TEST(NorMuon, TheComparisonSeesWrongRules) {
  const auto optimizer = make(normuon());
  constexpr MatrixShape tall{24, 7};
  for (const Rule& wrong : {Rule{.mu = 0.94}, Rule{.beta2 = 0.94}, Rule{.keeps_norm = false},
                            Rule{.by_row = false}, Rule{.scale = "match_rms_adamw"}}) {
    EXPECT_GT(compare(*optimizer, tall, plain(wrong)).update, 1e-3);
  }
}

TEST(NorMuon, TheFirstUpdateHasRowsOfOneSizeAndMuonsNorm) {
  // s = 0.05 mean O^2 for every row, so all rows of P have the same root mean square.
  const at::Tensor gradient = tests::matrix_gradient({24, 7}, 1);
  State muon_state;
  State state;
  const auto update = [&](const Entry& entry, State& kept) {
    const auto optimizer = make(entry, {{"scale", std::string("original")}});
    kept = optimizer->init(gradient);
    return optimizer->update(gradient, kept, {.step = 1, .lr = 0.1}).to(at::kDouble);
  };
  const at::Tensor u = update(normuon(), state);
  const at::Tensor o = update(muon(), muon_state) / (0.1 * std::sqrt(24.0 / 7));
  const at::Tensor rows = u.norm(2, 1);
  // A dozen roundings.
  EXPECT_LT((rows.max() / rows.min() - 1).item<double>(), 12 * tests::fp32_rounding);
  EXPECT_NEAR((u.norm() / o.norm()).item<double>(), 0.1 * std::sqrt(24.0 / 7),
              12 * tests::fp32_rounding);
  EXPECT_LT(tests::norm_error(state.tensors.at("row_squares"), 0.05 * o.square().mean(1, true)),
            12 * tests::fp32_rounding);
}

TEST(NorMuon, ZeroStaysZero) {
  const auto optimizer = make(normuon());
  State state = optimizer->init(at::zeros({4, 3}));
  const at::Tensor u = optimizer->update(at::zeros({4, 3}), state, {.step = 1, .lr = 0.1});
  EXPECT_TRUE(at::equal(u, at::zeros({4, 3})));
}

TEST(NorMuon, DefaultsAndWhatItTakes) {
  const auto optimizer = make(normuon());
  EXPECT_EQ(optimizer->peak_lr(), 0.02);
  EXPECT_EQ(optimizer->peak_momentum(), 0.95);
  EXPECT_EQ(make(normuon(), {{"weight_decay", 0.3}})->weight_decay(), 0.3);
  EXPECT_TRUE(normuon().spec.takes_matrices_only);
}

TEST(NorMuon, StateIsTheMomentumAndANumberForEachRow) {
  const auto optimizer = make(normuon());
  EXPECT_EQ(tests::tensor_bytes(optimizer->init(at::zeros({24, 7}))), 4 * 24 * 7 + 4 * 24);
  tests::expect_size_without_memory(normuon());
}

TEST(NorMuon, ContinuesWithTheSameBits) {
  tests::expect_same_bits_after_restoring(normuon(), {24, 7}, 12);
}

TEST(NorMuon, PassesNanOnAndKeepsItsTensorsToItself) {
  for (const bool nesterov : {true, false}) {
    tests::expect_nan_to_pass(normuon(), {{"nesterov", nesterov}});
    tests::expect_tensors_to_be_apart(normuon(), {{"nesterov", nesterov}});
  }
}

TEST(NorMuon, OthersOfTheBatchChangeNothing) { tests::expect_batch_to_change_nothing(normuon()); }

TEST(NorMuon, MomentumComesFromTheSchedule) {
  tests::expect_momentum_from_context(normuon(), "momentum");
}

TEST(NorMuon, RefusesOptionsOutOfRange) {
  EXPECT_THROW(make(normuon(), {{"beta2", 1.0}}), UserError);
  EXPECT_THROW(make(normuon(), {{"lr", std::nan("")}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
