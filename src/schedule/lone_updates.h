#pragma once
// Facts shared by the schedules whose stages update on their own, each as soon as its backwards of
// a batch are done.

#include <algorithm>

#include "schedule/placement.h"

namespace penstock::schedule::lone_updates {

constexpr int rounded_up(int a, int b) { return (a + b - 1) / b; }

/// Micro-batches that the stage is ahead of its backwards.
constexpr int lead(int stage, PipelineShape shape) { return shape.stages - 1 - stage; }

/// A batch's sums are only reported, so a stage collects those of batch b after its batch
/// b + collect_after - 1: the first stage, which is d-1 micro-batches behind the last, has
/// contributed by then.
constexpr int collect_after(PipelineShape shape) {
  return rounded_up(shape.stages - 1, shape.micro_batches) + 1;
}

/// The last stage is at most d micro-batches further than the first when that collects.
constexpr int reductions(PipelineShape shape) {
  return collect_after(shape) - 1 + rounded_up(shape.stages, shape.micro_batches);
}

}  // namespace penstock::schedule::lone_updates
