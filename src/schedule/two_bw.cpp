// PipeDream-2BW: never flushed, two weight versions, gradients exactly one update old.
// Source: Narayanan et al. 2021, arXiv 2006.09503; semantics in docs/delay.md.
//
// Stage s runs d-1-s forwards once, then forward/backward pairs for ever. Batch b reads
// W(max(b-1, 0)). W(b+1), made from batch b, is first read by the first forward of batch b+2: the
// update is placed right before it, as late as the semantics allow, which leaves at least m-d+1
// pairs between a stage's last backward of batch b and the moment the reduction is needed.

#include <algorithm>
#include <deque>

#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

std::int64_t version_read(std::int64_t batch) { return std::max<std::int64_t>(batch - 1, 0); }

class Stream final : public ActionStream {
 public:
  Stream(int stage, PipelineShape shape, HasBatch has_batch)
      : micro_batches_(shape.micro_batches),
        lead_(shape.stages - 1 - stage),
        has_batch_(std::move(has_batch)) {}

  std::optional<Action> next() override {
    if (pending_.empty()) plan();
    if (pending_.empty()) return std::nullopt;
    const Action action = pending_.front();
    pending_.pop_front();
    return action;
  }

 private:
  void plan() {
    if (!ended_ && forwards_ <= backwards_ + lead_) {
      plan_forward();
    } else if (backwards_ < forwards_) {
      plan_backward();
    } else if (updates_ < backwards_ / micro_batches_) {
      plan_update();
    }
  }

  void plan_forward() {
    const std::int64_t batch = forwards_ / micro_batches_;
    const std::int64_t micro_batch = forwards_ % micro_batches_;
    if (micro_batch == 0 && !has_batch_(batch)) {
      ended_ = true;
      return plan();
    }
    if (updates_ < version_read(batch)) plan_update();
    pending_.push_back({ActionKind::forward, batch, micro_batch, version_read(batch)});
    ++forwards_;
  }

  void plan_backward() {
    const std::int64_t batch = backwards_ / micro_batches_;
    const std::int64_t micro_batch = backwards_ % micro_batches_;
    pending_.push_back({ActionKind::backward, batch, micro_batch, version_read(batch)});
    ++backwards_;
    if (micro_batch + 1 == micro_batches_) {
      pending_.push_back({ActionKind::contribute, batch, 0, version_read(batch)});
    }
  }

  void plan_update() {
    pending_.push_back({ActionKind::update, updates_, 0, updates_ + 1});
    ++updates_;
  }

  const int micro_batches_;
  const int lead_;  // forwards in flight besides the current one
  const HasBatch has_batch_;
  std::deque<Action> pending_;
  std::int64_t forwards_ = 0;
  std::int64_t backwards_ = 0;
  std::int64_t updates_ = 0;
  bool ended_ = false;
};

}  // namespace

Schedule double_buffered_weights() {
  return {
      .name = "2bw",
      .summary = "asynchronous, no bubble in steady state; gradients one update old",
      .delay = 1,
      .versions = 2,
      .gradient_buffers = 2,
      .version_read = version_read,
      .generate = [](int stage, PipelineShape shape, HasBatch has_batch) -> StreamPtr {
        return std::make_unique<Stream>(stage, shape, std::move(has_batch));
      },
  };
}

}  // namespace penstock::schedule
