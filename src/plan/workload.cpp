#include "plan/workload.h"

#include <algorithm>

#include "base/error.h"
#include "model/head_chunks.h"

namespace penstock::plan {
namespace {

using model::ParameterKind;
using model::UnitKind;

constexpr double flop_per_weight = 6;  // as in model/units.cpp: 2 forward, 2 for dX, 2 for dW
constexpr double statistics = 4;       // an fp32 number per token: the norm's 1 / rms
constexpr int newton_schulz_steps = 5;

/// Per step: X X^T, its square, and the product with X; the smaller side is r.
double newton_schulz_flop(double rows, double columns) {
  const double r = std::min(rows, columns);
  const double c = std::max(rows, columns);
  return newton_schulz_steps * (4 * r * r * c + 2 * r * r * r);
}

/// Bytes per token that the unit's forward keeps. Each line is one tensor of the unit's Saved.
double saved_bytes(UnitKind kind, const Workload& z) {
  const auto& m = z.model;
  const double e = z.element();
  const auto width = static_cast<double>(m.width);
  const auto heads = static_cast<double>(m.heads);
  const double kv = width / heads * static_cast<double>(m.kv_heads);
  const double input_and_normed = 2 * e * width + statistics;
  switch (kind) {
    case UnitKind::embedding:
      return 0;  // its output is the next unit's input
    case UnitKind::attention:
      return input_and_normed + e * (width + 2 * kv)  // queries, keys, values
             + e * width                              // attended
             + statistics * heads;                    // log-sums, fp32
    case UnitKind::mlp:
      return input_and_normed +
             e * 3 * static_cast<double>(m.ff * z.experts.active);  // gate, up, hidden
    case UnitKind::head:
      return input_and_normed;
  }
  return 0;
}

/// Bytes per token at the peak of the unit's backward, beyond what it saved: dy, dx and all
/// gradients in between that exist at that time.
double working_bytes(UnitKind kind, const Workload& z) {
  const auto& m = z.model;
  const auto width = static_cast<double>(m.width);
  const double kv = width / static_cast<double>(m.heads) * static_cast<double>(m.kv_heads);
  const double heads = width + 2 * kv;  // queries, keys, values
  switch (kind) {
    case UnitKind::embedding:
      return z.element() * width;
    case UnitKind::attention:
      // The kernel's three gradients become one; later its product and dx.
      return z.element() * std::max(2 * width + 2 * heads, 4 * width + heads);
    case UnitKind::mlp:
      return z.element() * 3 * (width + static_cast<double>(m.ff * z.experts.active));
    case UnitKind::head:
      return z.element() * 2 * width;
  }
  return 0;
}

/// FLOP per token of the product that makes the unit's output: (heads or hidden) to width.
double last_product(UnitKind kind, const Workload& z) {
  constexpr double flop_of_forward = 2;
  const auto width = static_cast<double>(z.model.width);
  if (kind == UnitKind::attention) return flop_of_forward * width * width;
  if (kind != UnitKind::mlp) return 0;
  return flop_of_forward * width * static_cast<double>(z.model.ff * z.experts.active);
}

void add_parameter(UnitLoad& load, const model::Parameter& parameter, double copies,
                   const UpdateState& state) {
  const auto count = static_cast<double>(parameter.count());
  load.weights += copies * count;
  load.state += copies * state.bytes(parameter);
  load.largest = std::max(load.largest, count);
  if (parameter.kind != ParameterKind::matrix) return;
  load.matrix_weights += copies * count;
  if (!state.newton_schulz) return;
  load.update_flop += copies * newton_schulz_flop(static_cast<double>(parameter.shape[0]),
                                                  static_cast<double>(parameter.shape[1]));
}

/// Cuts the unit's cost into F, dX and dW: a third each for a product with weights; scores have no
/// dW and twice the dX.
void share_cost(UnitLoad& load, double cost, double multiplied) {
  const double scores = cost - flop_per_weight * multiplied;
  load.forward = cost / 3;
  load.input_gradient = cost / 3 + scores / 3;
  load.weight_gradient = cost / 3 - scores / 3;
}

UnitLoad load_of(const model::Unit& unit, const Workload& z) {
  UnitLoad load;
  load.kind = unit.kind;
  const bool is_mlp = unit.kind == UnitKind::mlp;
  double multiplied = 0;
  for (const auto& tensor : unit.tensors) {
    for (const auto& parameter : tensor.parameters) {
      const bool copied = is_mlp && parameter.kind == ParameterKind::matrix;
      add_parameter(load, parameter, copied ? static_cast<double>(z.experts.count) : 1, z.state);
      const bool used =
          parameter.kind == ParameterKind::matrix || parameter.kind == ParameterKind::head;
      if (used) multiplied += static_cast<double>(parameter.count());
    }
  }
  const double active = is_mlp ? static_cast<double>(z.experts.active) : 1;
  share_cost(load, active * unit.cost, active * multiplied);
  if (unit.kind == UnitKind::head) {  // logits are formed where their gradients are
    load.input_gradient += load.forward;
    load.forward = 0;
  }
  if (unit.kind == UnitKind::embedding) {  // no dX: there is nothing before it
    load.weight_gradient += load.input_gradient;
    load.input_gradient = 0;
  }
  load.last_product = last_product(unit.kind, z);
  load.saved = saved_bytes(unit.kind, z);
  load.working = working_bytes(unit.kind, z);
  if (unit.kind == UnitKind::head) {
    const auto element = static_cast<std::int64_t>(z.element());
    const bool in_pairs = z.precision == config::Precision::bf16;
    load.logits = z.element() * static_cast<double>(z.model.vocab);
    load.paired = in_pairs ? z.element() * static_cast<double>(z.model.width) : 0;
    load.chunk = static_cast<double>(
        model::head_chunk_rows(z.model.vocab, element, model::Logits::of_a_chunk));
  }
  // The product in bf16, and its fp32 copy on the way into the gradient.
  const bool rounds = z.precision == config::Precision::bf16 && unit.kind != UnitKind::embedding;
  if (rounds) load.product = (2 + 4) * load.largest;
  return load;
}

}  // namespace

Workload make_workload(Workload workload) {
  const auto [count, active] = workload.experts;
  if (count < 1 || active < 1 || active > count) {
    throw user_error("plan", "experts.active = {} of experts.count = {}; set 1 <= active <= count",
                     active, count);
  }
  workload.units.clear();
  for (const auto& unit : model::units(workload.model)) {
    workload.units.push_back(load_of(unit, workload));
  }
  return workload;
}

double Workload::parameters() const {
  double all = 0;
  for (const auto& unit : units) all += unit.weights;
  return model.tied ? all - static_cast<double>(model.vocab * model.width) : all;
}

double Workload::active_parameters() const {
  const auto idle = static_cast<double>(experts.count - experts.active);
  return parameters() -
         idle * 3 * static_cast<double>(model.width * model.ff) * static_cast<double>(model.layers);
}

std::int64_t sequences_of(std::int64_t tokens, std::int64_t seq) {
  if (tokens / seq > most_batch_sequences) {
    throw user_error(
        "plan",
        "a batch of {} tokens has {} sequences of {}, but a plan takes at most {}; set "
        "--batch-tokens {} or less",
        tokens, tokens / seq, seq, most_batch_sequences, most_batch_sequences * seq);
  }
  if (tokens > 0 && tokens % seq == 0) return tokens / seq;
  const std::int64_t below = std::max(tokens, std::int64_t{0}) / seq * seq;
  throw user_error(
      "plan", "a batch of {} tokens is no whole number of sequences of {}; set --batch-tokens {}{}",
      tokens, seq, below > 0 ? fmt::format("{} or ", below) : "", below + seq);
}

}  // namespace penstock::plan
