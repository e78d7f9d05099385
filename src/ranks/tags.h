#pragma once
// Which frames share an order: one tag each.

namespace penstock::ranks {

enum class Tag : int {
  clock,       // while joining
  assignment,  // rank 0 tells what to train
  start,       // and second 0 of the run
  gate,        // rank 0's decisions
  events,      // to rank 0
  shares,      // of a batch's reduction, to rank 0
  totals,      // and back
  farewell,    // rank 0 has all it needs
  first_edge,  // from here on: edges, see edge_tag()
};

enum class EdgeKind : int { activations, gradients, evaluations };

/// Of the edge between `piece` and the next one of the model.
constexpr int edge_tag(int piece, EdgeKind kind) {
  return static_cast<int>(Tag::first_edge) + 3 * piece + static_cast<int>(kind);
}

}  // namespace penstock::ranks
