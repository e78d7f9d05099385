#pragma once
// Moves messages between the two ends of an edge that lie on different ranks.

#include <ATen/ATen.h>

#include "engine/executor.h"
#include "ranks/group.h"

namespace penstock::ranks {

/// The channel of such an edge exists on both ranks: the sender's is emptied by push_messages(),
/// the receiver's is filled by pull_messages(), each on a thread of its own. With channels of
/// capacity c, 2c + 2 messages can be under way: c in each channel and one in each pump's hands.
///
/// Both return at the end of the edge, which the sender's rank marks with end_of_edge() behind the
/// last message, and when the group has failed or the channel was closed.
using Edge = engine::Links<at::Tensor>::Edge;

void push_messages(Group& group, int to, int tag, Edge& from);
void pull_messages(Group& group, int from, int tag, Edge& to);

engine::Message<at::Tensor> end_of_edge();

}  // namespace penstock::ranks
