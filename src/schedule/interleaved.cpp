// Interleaved 1F1B: every stage holds v chunks, so the bubble shrinks to (d-1)/(v m + d-1).
// Source: Narayanan et al. 2021, arXiv 2104.04473, section 2.2.
//
// Micro-batches go in groups of d: chunk 0 on the whole group, then chunk 1, and so on; backwards
// in the reverse order of chunks.

#include <fmt/format.h>

#include <algorithm>

#include "schedule/compute.h"
#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

struct Slot {
  int micro_batch;
  int chunk;  // counted in the direction of travel
};

Slot slot(int k, PipelineShape shape) {
  const int group = shape.stages * shape.chunks;
  return {k / group * shape.stages + k % shape.stages, k % group / shape.stages};
}

int warm_up(int stage, PipelineShape shape) {
  return std::min(2 * (shape.stages - 1 - stage) + (shape.chunks - 1) * shape.stages,
                  shape.micro_batches * shape.chunks);
}

ActionStream generate(int stage, PipelineShape shape, HasBatch has_batch) {
  const int all = shape.micro_batches * shape.chunks;
  const int lead = warm_up(stage, shape);
  for (std::int64_t batch = 0; has_batch(batch); ++batch) {
    for (int k = 0; k < all + lead; ++k) {
      if (k < all) {
        const auto [j, chunk] = slot(k, shape);
        co_yield compute::forward(batch, j, batch, chunk);
      }
      if (k >= lead) {
        const auto [j, chunk] = slot(k - lead, shape);
        co_yield compute::backward(batch, j, batch, shape.chunks - 1 - chunk);
      }
    }
    co_yield compute::contribute(batch);
    co_yield compute::await_reduction(batch);
    co_yield compute::update(batch);
  }
}

std::string complaint(PipelineShape shape) {
  const auto [d, m, v] = shape;
  if (v < 2) {
    return fmt::format(
        "schedule 'interleaved' needs pipeline.chunks >= 2, but it is {}; set "
        "pipeline.chunks = 2, or choose '1f1b'",
        v);
  }
  if (m % d == 0) return "";
  const int below = m / d * d;
  return fmt::format(
      "schedule 'interleaved' needs pipeline.micro_batches to be a multiple of "
      "pipeline.stages, but they are {} and {}; set pipeline.micro_batches = {}{}",
      m, d, below > 0 ? fmt::format("{} or ", below) : "", below + d);
}

}  // namespace

Schedule interleaved() {
  Schedule schedule;
  schedule.name = "interleaved";
  schedule.summary = "synchronous 1f1b over v chunks per stage; bubble (d-1)/(v m + d-1)";
  schedule.default_chunks = 2;
  schedule.complaint = complaint;
  schedule.limits = [](int stage, PipelineShape shape) {
    const int all = shape.micro_batches * shape.chunks;
    return StageLimits{.in_flight = std::min(warm_up(stage, shape) + 1, all)};
  };
  schedule.generate = generate;
  return schedule;
}

}  // namespace penstock::schedule
