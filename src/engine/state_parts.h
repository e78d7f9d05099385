#pragma once
// Contributions and messages as parts of a stage's saved state.

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "comm/reduction.h"
#include "engine/stage_state.h"
#include "schedule/action.h"

namespace penstock::engine {

/// A stage's share of a batch whose sums it had not collected at the cut.
void add_share(StageState& state, std::int64_t batch, const comm::Contribution& share);
comm::Contribution share_of(const StageState& state, std::int64_t batch);
/// The batches of all shares in the state, ascending.
std::vector<std::int64_t> batches_of_shares(const StageState& state);

/// A message that was sent before its sender's cut and received after the stage's own.
struct MessageInTransit {
  schedule::Action receive;       // that takes it
  std::int64_t sent_version = 0;  // of the weights that made it
  at::Tensor payload;
};
/// `number` counts the messages of the state, in the order in which they were received.
void add_message(StageState& state, std::int64_t number, const MessageInTransit& message);
std::vector<MessageInTransit> messages_in_transit(const StageState& state);

}  // namespace penstock::engine
