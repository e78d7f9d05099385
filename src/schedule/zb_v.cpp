// ZB-V: two chunks per stage, laid out as a V, so that the stage that starts a micro-batch also
// ends it; dX and dW are apart. No bubble inside a batch when F, dX and dW take equally long.
// Source: Qi et al. 2023, arXiv 2401.10241, section 6.

#include <algorithm>

#include "schedule/compute.h"
#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

/// The next micro-batch of one kind of action on one chunk. The pattern is that of a long batch; a
/// shorter one leaves out the micro-batches it does not have.
class Counter {
 public:
  explicit Counter(int micro_batches) : micro_batches_(micro_batches) {}
  bool take() { return next_++ < micro_batches_; }
  int taken() const { return next_ - 1; }
  int next() const { return next_; }

 private:
  int micro_batches_;
  int next_ = 0;
};

ActionStream one_batch(int stage, PipelineShape shape, std::int64_t batch) {
  const int d = shape.stages;
  const int pattern = std::max(2 * d - 1, shape.micro_batches);
  Counter f[] = {Counter(shape.micro_batches), Counter(shape.micro_batches)};
  Counter x[] = {Counter(shape.micro_batches), Counter(shape.micro_batches)};
  Counter w[] = {Counter(shape.micro_batches), Counter(shape.micro_batches)};
  const auto forward = [&](int c) { return compute::forward(batch, f[c].taken(), batch, c); };
  const auto input = [&](int c) { return compute::backward_input(batch, x[c].taken(), batch, c); };
  const auto weight = [&](int c) {
    return compute::backward_weight(batch, w[c].taken(), batch, c);
  };

  // Fill: chunk 0 runs ahead until the first micro-batch has come back up the V.
  for (int i = 0; i < 2 * (d - stage) - 1; ++i) {
    if (f[0].take()) co_yield forward(0);
  }
  for (int i = 0; i < stage; ++i) {
    if (f[1].take()) co_yield forward(1);
    if (f[0].take()) co_yield forward(0);
  }
  for (int i = 0; i < d - stage; ++i) {
    if (f[1].take()) co_yield forward(1);
    if (x[1].take()) co_yield input(1);
    if (w[1].take()) co_yield weight(1);
  }
  // Steady: one of each kind on each chunk.
  while (f[1].next() < f[0].next() || f[0].next() < pattern) {
    if (f[0].next() < pattern && f[0].take()) co_yield forward(0);
    if (x[0].take()) co_yield input(0);
    if (w[0].take()) co_yield weight(0);
    if (f[1].take()) co_yield forward(1);
    if (x[1].take()) co_yield input(1);
    if (w[1].take()) co_yield weight(1);
  }
  // Drain: dX first, since other stages wait for it; dW's fill the gaps.
  for (int i = 0; i < stage; ++i) {
    if (x[0].take()) co_yield input(0);
    if (x[1].take()) co_yield input(1);
  }
  for (int i = 0; i < d - stage; ++i) {
    if (x[0].take()) co_yield input(0);
    if (w[0].take()) co_yield weight(0);
  }
  while (w[1].next() < x[1].next()) {
    if (w[1].take()) co_yield weight(1);
  }
  while (w[0].next() < x[0].next()) {
    if (w[0].take()) co_yield weight(0);
  }
}

ActionStream generate(int stage, PipelineShape shape, HasBatch has_batch) {
  for (std::int64_t batch = 0; has_batch(batch); ++batch) {
    auto actions = one_batch(stage, shape, batch);
    while (const auto action = actions.next()) co_yield *action;
    co_yield compute::contribute(batch);
    co_yield compute::await_reduction(batch);
    co_yield compute::update(batch);
  }
}

}  // namespace

Schedule zero_bubble_v() {
  Schedule schedule;
  schedule.name = "zb-v";
  schedule.summary = "synchronous, two chunks per stage in a V, dW fills the gaps; memory of 1f1b";
  schedule.placement = Placement::v;
  schedule.default_chunks = 2;
  schedule.complaint = [](PipelineShape shape) { return complaint_about_chunks("zb-v", shape, 2); };
  schedule.limits = [](int stage, PipelineShape shape) {
    const int down = std::min(2 * shape.stages - 1 - stage, shape.micro_batches);
    const int up = std::min(stage + 1, shape.micro_batches);
    return StageLimits{.in_flight = down + up};
  };
  schedule.generate = generate;
  return schedule;
}

}  // namespace penstock::schedule
