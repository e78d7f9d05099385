#pragma once
// What a batch asks of each unit of the model: parameters, arithmetic and memory. No tensors, no
// machine.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "model/units.h"

namespace penstock::plan {

/// Every MLP holds `count` copies of its matrices, of which a token uses `active`. The router and
/// the traffic between experts are left out: all experts of a layer lie on the layer's rank.
struct Experts {
  std::int64_t count = 1;
  std::int64_t active = 1;

  friend bool operator==(const Experts&, const Experts&) = default;
};

/// What updates keep and do.
struct UpdateState {
  /// Bytes of optimizer and correction for a parameter. By default two fp32 tensors of its size.
  std::function<double(const model::Parameter&)> bytes = [](const model::Parameter& parameter) {
    return 8.0 * static_cast<double>(parameter.count());
  };
  bool newton_schulz = false;  // whether a matrix's update orthogonalises
};

/// Seconds measured on a machine, in the place of arithmetic / rate.
struct MeasuredTimes {
  struct Pass {
    double forward = 0;   // per token
    double backward = 0;  // per token
  };
  std::array<Pass, 4> passes{};  // by UnitKind
  double matrix_update = 0;      // per parameter
  double other_update = 0;       // per parameter
  std::int64_t micro_batch = 1;  // sequences of the measurement

  const Pass& of(model::UnitKind kind) const { return passes[static_cast<std::size_t>(kind)]; }
  Pass& of(model::UnitKind kind) { return passes[static_cast<std::size_t>(kind)]; }
};

/// One unit. FLOP and bytes are per token; FLOP as in model::Unit::cost, where a token of attention
/// scores counts as the matrix product that takes as long.
struct UnitLoad {
  model::UnitKind kind{};
  double weights = 0;          // parameters
  double matrix_weights = 0;   // of them in matrices of the blocks
  double largest = 0;          // parameters of the largest tensor
  double state = 0;            // bytes of optimizer and correction
  double forward = 0;          // FLOP
  double input_gradient = 0;   // FLOP of dX
  double weight_gradient = 0;  // FLOP of dW
  double last_product = 0;     // FLOP of F's last product, which a second forward can leave out
  double saved = 0;            // bytes that F keeps for B: what src/model/*_op.cpp save
  double working = 0;          // bytes that B needs at its peak beyond those
  double product = 0;          // bytes of a bf16 dW before it is added in fp32, not per token
  double logits = 0;           // bytes of the logits' gradients that B forms, chunk by chunk
  double chunk = 0;            // tokens of one such chunk
  double paired = 0;           // bytes of the copy of its input that a chunk's dW takes
  double update_flop = 0;      // FLOP of one update, not per token

  double backward() const { return input_gradient + weight_gradient; }
};

struct Workload {
  config::ModelConfig model;
  Experts experts;
  config::Precision precision = config::Precision::fp32;
  UpdateState state;
  /// Whether gradients are summed over the replicas in buckets while the last micro-batch's
  /// backward still runs, instead of after it.
  bool bucketed = false;
  std::optional<MeasuredTimes> measured;
  std::int64_t sequences = 1;  // of a batch
  std::vector<UnitLoad> units;

  double element() const { return precision == config::Precision::bf16 ? 2 : 4; }
  std::int64_t batch_tokens() const { return sequences * model.seq; }
  /// Bytes of an activation of the residual stream, per token.
  double stream() const { return element() * static_cast<double>(model.width); }
  /// All distinct parameters, and those that a token uses.
  double parameters() const;
  double active_parameters() const;
};

/// Fills in `units`; all else is the caller's. Errors: UserError where
/// experts are not 1 <= active <= count.
Workload make_workload(Workload workload);

/// So that numbers of sequences, replicas and micro-batches multiply without overflow.
inline constexpr std::int64_t most_batch_sequences = std::int64_t{1} << 30;

/// How many sequences a batch of `tokens` has. Errors: UserError, not a multiple of `seq`, or more
/// than most_batch_sequences of them.
std::int64_t sequences_of(std::int64_t tokens, std::int64_t seq);

}  // namespace penstock::plan
