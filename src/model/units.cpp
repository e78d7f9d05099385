#include "model/units.h"

#include <fmt/format.h>

#include <functional>
#include <numeric>

namespace penstock::model {
namespace {

using config::ModelConfig;

// A forward multiply-add costs 2 FLOP, its two backward products 4.
constexpr double flop_per_weight = 6;
// Attention's small products with a softmax between them run at about half the rate of large ones,
// and the loss of a logit takes as long as so many FLOP of those (docs/results/throughput.md).
constexpr double attention_slowdown = 2;
constexpr double flop_per_logit = 120;

Parameter matrix(std::string name, std::int64_t rows, std::int64_t columns) {
  return {std::move(name), ParameterKind::matrix, {rows, columns}};
}

TensorSpec gain(std::string name, std::int64_t width) {
  return {{{std::move(name), ParameterKind::gain, {width}}}};
}

Unit embedding(const ModelConfig& z) {
  Unit unit{UnitKind::embedding, 0, {}, 0};
  unit.tensors.push_back(
      {{{std::string(embedding_name), ParameterKind::embedding, {z.vocab, z.width}}}});
  unit.cost = static_cast<double>(flop_per_weight * static_cast<double>(z.width));
  return unit;
}

Unit attention(const ModelConfig& z, std::int64_t layer) {
  const auto name = [&](const char* part) {
    return fmt::format("model.layers.{}.{}.weight", layer, part);
  };
  const std::int64_t kv_width = z.width / z.heads * z.kv_heads;
  Unit unit{UnitKind::attention, layer, {}, 0};
  unit.tensors = {
      gain(name("input_layernorm"), z.width),
      {{matrix(name("self_attn.q_proj"), z.width, z.width),
        matrix(name("self_attn.k_proj"), kv_width, z.width),
        matrix(name("self_attn.v_proj"), kv_width, z.width)}},
      {{matrix(name("self_attn.o_proj"), z.width, z.width)}},
  };
  const auto width = static_cast<double>(z.width);
  const double scores = 2 * width * static_cast<double>(z.seq) / 2;  // q k^T and p v, causal half
  unit.cost = flop_per_weight * (2 * width * width + 2 * static_cast<double>(kv_width) * width +
                                 attention_slowdown * scores);
  return unit;
}

Unit mlp(const ModelConfig& z, std::int64_t layer) {
  const auto name = [&](const char* part) {
    return fmt::format("model.layers.{}.{}.weight", layer, part);
  };
  Unit unit{UnitKind::mlp, layer, {}, 0};
  unit.tensors = {
      gain(name("post_attention_layernorm"), z.width),
      {{matrix(name("mlp.gate_proj"), z.ff, z.width), matrix(name("mlp.up_proj"), z.ff, z.width)}},
      {{matrix(name("mlp.down_proj"), z.width, z.ff)}},
  };
  unit.cost = flop_per_weight * 3 * static_cast<double>(z.width) * static_cast<double>(z.ff);
  return unit;
}

Unit head(const ModelConfig& z) {
  Unit unit{UnitKind::head, 0, {}, 0};
  unit.tensors = {
      gain("model.norm.weight", z.width),
      {{{std::string(head_name), ParameterKind::head, {z.vocab, z.width}}}},
  };
  unit.cost = (flop_per_weight * static_cast<double>(z.width) + flop_per_logit) *
              static_cast<double>(z.vocab);
  return unit;
}

}  // namespace

std::int64_t Parameter::count() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::vector<std::int64_t> TensorSpec::shape() const {
  std::vector<std::int64_t> shape = parameters.front().shape;
  for (std::size_t i = 1; i < parameters.size(); ++i) shape[0] += parameters[i].shape[0];
  return shape;
}

std::int64_t TensorSpec::count() const {
  std::int64_t count = 0;
  for (const auto& parameter : parameters) count += parameter.count();
  return count;
}

std::vector<Unit> units(const ModelConfig& model) {
  std::vector<Unit> chain{embedding(model)};
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    chain.push_back(attention(model, layer));
    chain.push_back(mlp(model, layer));
  }
  chain.push_back(head(model));
  return chain;
}

std::int64_t parameter_count(const ModelConfig& model) {
  std::int64_t count = 0;
  for (const auto& unit : units(model)) {
    for (const auto& tensor : unit.tensors) count += tensor.count();
  }
  return model.tied ? count - model.vocab * model.width : count;
}

const char* name(UnitKind kind) {
  switch (kind) {
    case UnitKind::embedding:
      return "embedding";
    case UnitKind::attention:
      return "attention";
    case UnitKind::mlp:
      return "mlp";
    case UnitKind::head:
      return "head";
  }
  return "unknown";
}

std::string describe(const Unit& unit) {
  const bool of_layer = unit.kind == UnitKind::attention || unit.kind == UnitKind::mlp;
  return of_layer ? fmt::format("{} {}", name(unit.kind), unit.layer) : name(unit.kind);
}

}  // namespace penstock::model
