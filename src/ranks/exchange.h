#pragma once
// The part of a batch's reduction that goes over the ranks.

#include "comm/reduction.h"
#include "ranks/group.h"

namespace penstock::ranks {

/// For comm::Reduction on every rank of the group. Rank 0 collects the shares of all and hands the
/// result back: every square and the loss has one contributor, so adding the others' zeros is exact
/// in any order. The gradient of a tied head goes to rank 0, which holds the embedding, and the
/// embedding's goes to the head's rank, so that both form the same sum; the other ranks get its
/// square, as parameter `tied_parameter`. Frames of a batch that another rank never contributes
/// make the exchange wait; it throws comm::Closed when the group has failed.
comm::Reduction::Exchange make_exchange(Group& group, std::size_t tied_parameter);

}  // namespace penstock::ranks
