#include "model/units.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "config/presets.h"
#include "support/golden_model.h"

namespace penstock::model {
namespace {

using Shape = std::vector<std::int64_t>;

config::ModelConfig small(bool tied) {
  config::ModelConfig model;
  model.layers = 2;
  model.width = 32;
  model.heads = 4;
  model.kv_heads = 2;
  model.ff = 48;
  model.vocab = 67;
  model.seq = 16;
  model.tied = tied;
  return model;
}

std::map<std::string, Parameter> parameters_of(const std::vector<Unit>& chain) {
  std::map<std::string, Parameter> all;
  for (const auto& unit : chain) {
    for (const auto& tensor : unit.tensors) {
      for (const auto& parameter : tensor.parameters) {
        EXPECT_TRUE(all.emplace(parameter.name, parameter).second)
            << parameter.name << " is there twice";
      }
    }
  }
  return all;
}

TEST(Units, PresetsHaveTheirExactNumberOfParameters) {
  const auto count = [](const char* preset) {
    return parameter_count(*config::find_preset(preset));
  };
  EXPECT_EQ(count("smollm2-135m"), 134'515'008);
  EXPECT_EQ(count("smollm2-360m"), 361'821'120);
  // 2 * 8192 * 256 in embedding and head; 8 layers of 256 * (2 * 256 + 2 * 128) + 3 * 256 * 768 in
  // matrices and 2 * 256 gains; 256 final gains.
  EXPECT_EQ(count("bench-10m"), 10'490'112);
}

TEST(Units, NamesAndShapesAreThoseOfHuggingFace) {
  // The golden files' weights come from transformers' own class.
  for (const bool tied : {false, true}) {
    const auto golden = tests::golden_model(tied);
    auto own = parameters_of(units(golden.config));
    if (tied) own.erase(std::string(head_name));
    std::set<std::string> names;
    for (const auto& [name, parameter] : own) names.insert(name);
    ASSERT_EQ(own.size(), golden.weights.size());
    std::int64_t count = 0;
    for (const auto& [name, weight] : golden.weights) {
      ASSERT_TRUE(own.contains(name)) << name;
      EXPECT_EQ(own.at(name).shape, weight.sizes().vec()) << name;
      EXPECT_EQ(own.at(name).count(), weight.numel()) << name;
      count += weight.numel();
    }
    EXPECT_EQ(parameter_count(golden.config), count);
  }
}

TEST(Units, AChainFromTheEmbeddingToTheHead) {
  std::vector<std::string> names;
  for (const auto& unit : units(small(false))) names.push_back(describe(unit));
  EXPECT_EQ(names, (std::vector<std::string>{"embedding", "attention 0", "mlp 0", "attention 1",
                                             "mlp 1", "head"}));
}

TEST(Units, StackedTensorsAreTheFusedProjections) {
  const auto chain = units(small(false));
  const Unit& attention = chain[3];
  ASSERT_EQ(attention.tensors.size(), 3U);
  EXPECT_EQ(attention.tensors[0].shape(), (Shape{32}));
  EXPECT_EQ(attention.tensors[1].shape(), (Shape{32 + 16 + 16, 32}));
  EXPECT_EQ(attention.tensors[1].count(), 64 * 32);
  std::vector<std::string> stacked;
  for (const auto& parameter : attention.tensors[1].parameters) stacked.push_back(parameter.name);
  EXPECT_EQ(stacked, (std::vector<std::string>{"model.layers.1.self_attn.q_proj.weight",
                                               "model.layers.1.self_attn.k_proj.weight",
                                               "model.layers.1.self_attn.v_proj.weight"}));
  const Unit& mlp = chain[4];
  ASSERT_EQ(mlp.tensors.size(), 3U);
  EXPECT_EQ(mlp.tensors[1].shape(), (Shape{96, 32}));
  EXPECT_EQ(mlp.tensors[1].parameters[0].name, "model.layers.1.mlp.gate_proj.weight");
  EXPECT_EQ(mlp.tensors[1].parameters[1].name, "model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(mlp.tensors[2].shape(), (Shape{32, 48}));
}

TEST(Units, KindsSayWhichOptimizerTakesAParameter) {
  for (const auto& [name, parameter] : parameters_of(units(small(true)))) {
    ParameterKind expected = ParameterKind::matrix;
    if (parameter.shape.size() == 1) expected = ParameterKind::gain;
    if (name == embedding_name) expected = ParameterKind::embedding;
    if (name == head_name) expected = ParameterKind::head;
    EXPECT_EQ(parameter.kind, expected) << name;
  }
}

TEST(Units, CostsAreSixFlopPerWeightAndTokenAndMorePerLogit) {
  const auto chain = units(small(false));
  EXPECT_EQ(chain[2].cost, 6.0 * 3 * 32 * 48);
  EXPECT_EQ(chain[5].cost, (6.0 * 32 + 120) * 67) << "and the loss of each logit";
  EXPECT_LT(chain[0].cost, chain[2].cost / 10) << "a look-up costs next to nothing";
  // Attention: its four matrices, and the scores, which grow with the sequence.
  const double matrices = 6.0 * 32 * (32 + 16 + 16 + 32);
  auto longer = small(false);
  longer.seq *= 2;
  const double scores = chain[1].cost - matrices;
  EXPECT_GT(scores, 0);
  EXPECT_DOUBLE_EQ(units(longer)[1].cost - matrices, 2 * scores);
  // At least the 2 * width * seq / 2 multiply-adds of both products below the diagonal.
  EXPECT_GE(scores, 6.0 * 32 * 16);
}

}  // namespace
}  // namespace penstock::model
