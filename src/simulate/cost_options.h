#pragma once
// Costs as the command line gives them.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "simulate/costs.h"

namespace penstock::simulate {

/// What is set replaces the value of every stage, whatever the file says. Seconds and bytes, of a
/// whole stage: with several chunks each costs a share.
struct CostOptions {
  std::string file;  // empty: F = 1, B = 2, dX = dW = 1 and everything else 0
  std::optional<double> forward;
  std::optional<double> backward;         // not set: dX + dW where both are
  std::optional<double> backward_input;   // not set: half of backward, where that is set
  std::optional<double> backward_weight;  // likewise
  std::optional<double> contribute;
  std::optional<double> update;
  std::optional<double> reduction;
  std::optional<double> latency;
  std::optional<double> bandwidth;
  std::optional<double> message_bytes;
  std::optional<double> activation_bytes;
  std::optional<double> weight_bytes;
  std::optional<double> gradient_bytes;
  std::optional<double> optimizer_bytes;
  std::optional<double> jitter;
  std::vector<std::string> stragglers;  // "STAGE:FACTOR"
  std::string failure;                  // "STAGE@SECONDS"; empty: none
  std::uint64_t seed = 0;
};

/// Errors: UserError as read_costs() and check(), and for a straggler or failure that is not of the
/// form above or names a stage that does not exist.
Costs make_costs(const CostOptions& options, schedule::PipelineShape shape);

}  // namespace penstock::simulate
