#pragma once
// Which stage holds which piece of the model.

namespace penstock::schedule {

/// d stages; the model is cut into stages * chunks pieces in model order, and every stage holds
/// `chunks` of them. Each batch is cut into m micro-batches.
struct PipelineShape {
  int stages = 1;
  int micro_batches = 1;
  int chunks = 1;

  int pieces() const { return stages * chunks; }
  friend bool operator==(const PipelineShape&, const PipelineShape&) = default;
};

/// loop: piece p lies on stage p mod d, so every chunk runs from the first stage to the last.
/// v: the chunks run alternately down and up, so the last piece of chunk 0 and the first piece of
/// chunk 1 share a stage. The same for one chunk.
enum class Placement { loop, v };

struct Place {
  int stage = 0;
  int chunk = 0;

  friend bool operator==(const Place&, const Place&) = default;
};

constexpr int piece_at(Placement placement, const PipelineShape& shape, Place place) {
  const bool reversed = placement == Placement::v && place.chunk % 2 == 1;
  const int within = reversed ? shape.stages - 1 - place.stage : place.stage;
  return place.chunk * shape.stages + within;
}

constexpr Place place_of(Placement placement, const PipelineShape& shape, int piece) {
  const int chunk = piece / shape.stages;
  const int within = piece % shape.stages;
  const bool reversed = placement == Placement::v && chunk % 2 == 1;
  return {reversed ? shape.stages - 1 - within : within, chunk};
}

}  // namespace penstock::schedule
