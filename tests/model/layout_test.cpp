#include "model/layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/presets.h"
#include "model/views.h"

namespace penstock::model {
namespace {

config::ModelConfig odd(bool tied) {  // sizes that are no multiples of the alignment
  config::ModelConfig model;
  model.layers = 3;
  model.width = 36;
  model.heads = 6;
  model.kv_heads = 2;
  model.ff = 50;
  model.vocab = 71;
  model.seq = 8;
  model.tied = tied;
  return model;
}

std::vector<UnitRange> cut(const std::vector<std::int64_t>& counts) {
  return partition_from_counts(counts);
}

const std::vector<std::vector<std::int64_t>> cuts = {{8},    {4, 4},    {1, 7},
                                                     {7, 1}, {2, 3, 3}, {1, 1, 1, 1, 1, 1, 1, 1}};

/// Begin and end of places in a buffer must not overlap, and lie inside it.
void expect_disjoint(std::vector<std::pair<std::int64_t, std::int64_t>> places,
                     std::int64_t count) {
  std::sort(places.begin(), places.end());
  std::int64_t end = 0;
  for (const auto& [first, last] : places) {
    EXPECT_GE(first, end);
    end = last;
  }
  EXPECT_LE(end, count);
}

class LayoutTest : public testing::TestWithParam<bool> {
 protected:
  bool tied = GetParam();
  std::vector<Unit> chain = units(odd(tied));
};

TEST_P(LayoutTest, TensorsAreAlignedAndApart) {
  for (const auto& counts : cuts) {
    for (const auto range : cut(counts)) {
      const Layout l = layout(chain, range, tied);
      EXPECT_EQ(l.range, range);
      ASSERT_EQ(l.units.size(), static_cast<std::size_t>(range.last - range.first));
      std::vector<std::pair<std::int64_t, std::int64_t>> weights;
      std::vector<std::pair<std::int64_t, std::int64_t>> gradients;
      for (std::size_t u = 0; u < l.units.size(); ++u) {
        const auto& specs = chain[static_cast<std::size_t>(range.first) + u].tensors;
        ASSERT_EQ(l.units[u].size(), specs.size());
        for (std::size_t t = 0; t < specs.size(); ++t) {
          const auto& tensor = l.units[u][t];
          EXPECT_EQ(tensor.shape, specs[t].shape());
          EXPECT_EQ(tensor.weight_offset % 64, 0);
          EXPECT_EQ(tensor.gradient_offset % 64, 0);
          const bool shared =
              tied && range.first == 0 && specs[t].parameters.front().kind == ParameterKind::head;
          if (shared) {
            EXPECT_EQ(tensor.weight_offset, l.units[0][0].weight_offset);
          } else {
            weights.emplace_back(tensor.weight_offset, tensor.weight_offset + specs[t].count());
          }
          gradients.emplace_back(tensor.gradient_offset, tensor.gradient_offset + specs[t].count());
        }
      }
      expect_disjoint(weights, l.weight_count);
      expect_disjoint(gradients, l.gradient_count);
    }
  }
}

TEST_P(LayoutTest, ParametersTileTheirTensors) {
  for (const auto range : cut({3, 5})) {
    const Layout l = layout(chain, range, tied);
    std::size_t next = 0;
    for (std::size_t u = 0; u < l.units.size(); ++u) {
      const auto& specs = chain[static_cast<std::size_t>(range.first) + u].tensors;
      for (std::size_t t = 0; t < specs.size(); ++t) {
        std::int64_t weight = l.units[u][t].weight_offset;
        std::int64_t gradient = l.units[u][t].gradient_offset;
        for (const auto& spec : specs[t].parameters) {
          const auto& place = l.parameters.at(next++);
          EXPECT_EQ(place.spec.name, spec.name);
          EXPECT_EQ(place.weight_offset, weight);
          EXPECT_EQ(place.gradient_offset, gradient);
          weight += spec.count();
          gradient += spec.count();
        }
      }
    }
    EXPECT_EQ(next, l.parameters.size());
  }
}

TEST_P(LayoutTest, NumbersAreTheSameInEveryPartition) {
  // In the order of the chain; the tied head has the embedding's.
  std::map<std::string, std::size_t> expected;
  std::size_t next = 0;
  for (const auto& unit : chain) {
    for (const auto& tensor : unit.tensors) {
      for (const auto& parameter : tensor.parameters) expected[parameter.name] = next++;
    }
  }
  if (tied) expected[std::string(head_name)] = 0;
  for (const auto& counts : cuts) {
    std::set<std::size_t> seen;
    std::size_t parameters = 0;
    for (const auto range : cut(counts)) {
      for (const auto& place : layout(chain, range, tied).parameters) {
        EXPECT_EQ(place.number, expected.at(place.spec.name)) << place.spec.name;
        seen.insert(place.number);
        ++parameters;
      }
    }
    EXPECT_EQ(parameters, expected.size());
    EXPECT_EQ(seen.size(), parameter_numbers(chain, tied));
    EXPECT_EQ(*seen.rbegin(), seen.size() - 1) << "there are gaps between the numbers";
  }
}

INSTANTIATE_TEST_SUITE_P(UntiedAndTied, LayoutTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "tied" : "untied"; });

const Layout::Parameter& find(const Layout& l, std::string_view name) {
  return *std::find_if(l.parameters.begin(), l.parameters.end(),
                       [&](const auto& place) { return place.spec.name == name; });
}

TEST(Layout, ATiedHeadOnOneStageSharesWeightsButNotGradients) {
  const auto chain = units(odd(true));
  const Layout l = layout(chain, {0, 8}, true);
  const auto& embedding = find(l, embedding_name);
  const auto& head = find(l, head_name);
  EXPECT_EQ(head.weight_offset, embedding.weight_offset);
  EXPECT_NE(head.gradient_offset, embedding.gradient_offset);
  EXPECT_TRUE(embedding.updated);
  EXPECT_FALSE(head.updated) << "the weights would be updated twice";
  const Layout untied = layout(units(odd(false)), {0, 8}, false);
  EXPECT_EQ(untied.weight_count - l.weight_count, (71 * 36 + 63) / 64 * 64);
  EXPECT_EQ(untied.gradient_count, l.gradient_count);
}

TEST(Layout, ATiedHeadOnAnotherStageHasItsOwnCopy) {
  const auto chain = units(odd(true));
  const auto stages = cut({5, 3});
  const Layout first = layout(chain, stages[0], true);
  const Layout last = layout(chain, stages[1], true);
  const auto& head = find(last, head_name);
  EXPECT_TRUE(head.updated);
  EXPECT_TRUE(find(first, embedding_name).updated);
  EXPECT_EQ(head.number, find(first, embedding_name).number);
  for (const auto& place : last.parameters) {
    EXPECT_TRUE(place.updated) << place.spec.name;
    EXPECT_EQ(place.weight_offset == head.weight_offset, place.spec.name == head_name);
  }
}

TEST(Layout, AnUntiedHeadIsAlwaysUpdated) {
  for (const auto& place : layout(units(odd(false)), {0, 8}, false).parameters) {
    EXPECT_TRUE(place.updated) << place.spec.name;
  }
}

TEST(Views, WriteThroughToTheFlatBuffers) {
  const auto chain = units(odd(false));
  const Layout l = layout(chain, {0, 3}, false);
  const at::Tensor weights = at::zeros({l.weight_count});
  const StageTensors tensors = weight_views(l, weights);
  ASSERT_EQ(tensors.size(), 3U);
  // The stacked matrix of the attention, by rows: 36 of queries, 12 of keys, 12 of values.
  tensors[1][1].copy_(at::arange(60, at::kFloat).unsqueeze(1).expand({60, 36}));
  const auto first_row = [&](const char* name) {
    const at::Tensor view = weight_view(find(l, name), weights);
    EXPECT_EQ(view.size(1), 36);
    return view[0][35].item<float>();
  };
  EXPECT_EQ(first_row("model.layers.0.self_attn.q_proj.weight"), 0);
  EXPECT_EQ(first_row("model.layers.0.self_attn.k_proj.weight"), 36);
  EXPECT_EQ(first_row("model.layers.0.self_attn.v_proj.weight"), 48);

  const at::Tensor gradients = at::zeros({l.gradient_count});
  gradient_view(find(l, "model.layers.0.mlp.up_proj.weight"), gradients).fill_(3);
  const at::Tensor gate_up = gradient_views(l, gradients)[2][1];
  EXPECT_EQ(gate_up.narrow(0, 0, 50).abs().max().item<float>(), 0);
  EXPECT_EQ(gate_up.narrow(0, 50, 50).min().item<float>(), 3);
  EXPECT_EQ(gradients.sum().item<float>(), 3 * 50 * 36);
}

}  // namespace
}  // namespace penstock::model
