#include "model/initialize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "model/partition.h"
#include "model/views.h"

namespace penstock::model {
namespace {

config::ModelConfig model_of(bool tied) {
  config::ModelConfig model;
  model.layers = 8;
  model.width = 64;
  model.heads = 4;
  model.kv_heads = 2;
  model.ff = 160;
  model.vocab = 251;
  model.seq = 16;
  model.tied = tied;
  return model;
}

using Weights = std::map<std::string, at::Tensor>;

Weights initial(const config::ModelConfig& model, const std::vector<std::int64_t>& counts,
                std::uint64_t seed) {
  const auto chain = units(model);
  Weights all;
  for (const auto range : partition_from_counts(counts)) {
    const Layout l = layout(chain, range, model.tied);
    at::Tensor flat = at::full({l.weight_count}, 99.0F);
    initialize_weights(l, model, seed, flat);
    for (const auto& place : l.parameters) {
      all[place.spec.name] = weight_view(place, flat).clone();
    }
  }
  return all;
}

void expect_equal(const Weights& a, const Weights& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, weight] : a) EXPECT_TRUE(at::equal(weight, b.at(name))) << name;
}

TEST(Initialize, TheSameBitsInEveryPartition) {
  for (const bool tied : {false, true}) {
    const auto model = model_of(tied);
    const Weights whole = initial(model, {18}, 5);
    expect_equal(initial(model, {9, 9}, 5), whole);
    expect_equal(initial(model, {1, 16, 1}, 5), whole);
    expect_equal(initial(model, std::vector<std::int64_t>(18, 1), 5), whole);
  }
}

TEST(Initialize, GainsAreOneAndTheRestHasItsDeviation) {
  const auto model = model_of(false);
  for (const auto& [name, weight] : initial(model, {18}, 5)) {
    if (weight.dim() == 1) {
      EXPECT_TRUE(at::equal(weight, at::ones_like(weight))) << name;
      continue;
    }
    const bool into_residual =
        name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    const double deviation = into_residual ? 0.02 / std::sqrt(16.0) : 0.02;
    const auto n = static_cast<double>(weight.numel());
    const at::Tensor w = weight.to(at::kDouble);
    // Of n normal numbers the mean deviates by 1/sqrt(n), the deviation by 1/sqrt(2n), in units of
    // the deviation; five times that, for 58 matrices.
    EXPECT_NEAR(w.mean().item<double>(), 0, 5 * deviation / std::sqrt(n)) << name;
    EXPECT_NEAR(w.std().item<double>() / deviation, 1, 5 / std::sqrt(2 * n)) << name;
    EXPECT_LT(w.abs().max().item<double>(), 6 * deviation) << name;
  }
}

TEST(Initialize, TheResidualDeviationFollowsTheNumberOfLayers) {
  auto model = model_of(false);
  model.layers = 2;
  const auto weights = initial(model, {6}, 5);
  const double deviation = weights.at("model.layers.1.mlp.down_proj.weight").std().item<double>();
  EXPECT_NEAR(deviation, 0.01, 0.01 * 5 / std::sqrt(2.0 * 64 * 160));
}

TEST(Initialize, TiedCopiesAreEqual) {
  for (const auto& counts : {std::vector<std::int64_t>{18}, std::vector<std::int64_t>{9, 9}}) {
    const Weights tied = initial(model_of(true), counts, 5);
    EXPECT_TRUE(at::equal(tied.at("lm_head.weight"), tied.at("model.embed_tokens.weight")));
  }
  const Weights untied = initial(model_of(false), {18}, 5);
  EXPECT_FALSE(at::equal(untied.at("lm_head.weight"), untied.at("model.embed_tokens.weight")));
}

TEST(Initialize, EverySeedAndEveryParameterHasItsOwnNumbers) {
  const auto model = model_of(false);
  const Weights one = initial(model, {18}, 5);
  const Weights two = initial(model, {18}, 6);
  for (const auto& [name, weight] : one) {
    if (weight.dim() == 1) continue;
    EXPECT_FALSE(at::equal(weight, two.at(name))) << name;
    // Neither scaled nor shifted copies: correlation below five deviations of an estimate.
    for (const auto& [other_name, other] : one) {
      if (other_name <= name || other.sizes() != weight.sizes()) continue;
      const double correlation =
          ((weight * other).sum() / (weight.norm() * other.norm())).item<double>();
      EXPECT_LT(std::abs(correlation), 5 / std::sqrt(static_cast<double>(weight.numel())))
          << name << " and " << other_name;
    }
  }
}

TEST(Initialize, RecordedValues) {
  // New bits would silently change every seeded run. Computed in Python from the definitions in
  // base/random.h.
  const Weights weights = initial(model_of(false), {18}, 5);
  const at::Tensor embedding = weights.at("model.embed_tokens.weight");
  const at::Tensor down = weights.at("model.layers.7.mlp.down_proj.weight");
  EXPECT_FLOAT_EQ(embedding[0][0].item<float>(), -0.0079787024F);
  EXPECT_FLOAT_EQ(embedding[250][63].item<float>(), -0.019793478F);
  EXPECT_FLOAT_EQ(down[63][159].item<float>(), 0.0083660152F);
}

}  // namespace
}  // namespace penstock::model
