#pragma once
// What a model consists of: a chain of units, each with its parameters. No tensors here.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace penstock::model {

enum class ParameterKind { embedding, matrix, head, gain };

/// One named parameter; names and shapes are those of Hugging Face's Llama.
struct Parameter {
  std::string name;
  ParameterKind kind{};
  std::vector<std::int64_t> shape;  // [rows, columns] or [width]

  std::int64_t count() const;
};

/// Parameters that lie one after the other and are used as one matrix: their rows are stacked.
struct TensorSpec {
  std::vector<Parameter> parameters;

  std::vector<std::int64_t> shape() const;
  std::int64_t count() const;
};

enum class UnitKind { embedding, attention, mlp, head };

/// "embedding", "attention", "mlp", "head": a literal.
const char* name(UnitKind kind);

/// The smallest piece that a pipeline can be cut into: the embedding, the attention or the MLP of
/// one layer (each with its norm and its residual connection), or the final norm with the head.
struct Unit {
  UnitKind kind{};
  std::int64_t layer = 0;  // of attention and mlp
  std::vector<TensorSpec> tensors;
  double cost = 0;  // of forward and backward, in matrix-multiply FLOP-equivalents per token
};

/// The units in order: 2 layers + 2 of them. A tied head lists its copy of the embedding as
/// "lm_head.weight" like an untied one.
std::vector<Unit> units(const config::ModelConfig& model);

/// Distinct parameters: a tied head is not counted.
std::int64_t parameter_count(const config::ModelConfig& model);

/// "embedding", "attention 3", "mlp 3", "head"
std::string describe(const Unit& unit);

inline constexpr std::string_view embedding_name = "model.embed_tokens.weight";
inline constexpr std::string_view head_name = "lm_head.weight";

}  // namespace penstock::model
