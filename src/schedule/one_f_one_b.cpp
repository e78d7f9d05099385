// 1F1B with a flush: every batch starts and ends with an empty pipeline, so batch b reads W(b).
// Stage s runs min(d-1-s, m) forwards, then forward/backward pairs, then the remaining backwards.

#include <algorithm>

#include "schedule/schedule.h"

namespace penstock::schedule {
namespace {

class Stream final : public ActionStream {
 public:
  Stream(int stage, PipelineShape shape, HasBatch has_batch)
      : micro_batches_(shape.micro_batches),
        lead_(std::min(shape.stages - 1 - stage, shape.micro_batches)),
        has_batch_(std::move(has_batch)) {}

  std::optional<Action> next() override {
    switch (step_) {
      case Step::start:
        if (!has_batch_(batch_)) return std::nullopt;
        step_ = Step::compute;
        [[fallthrough]];
      case Step::compute:
        return compute();
      case Step::contribute:
        step_ = Step::update;
        return Action{ActionKind::contribute, batch_, 0, batch_};
      case Step::update:
        break;
    }
    const std::int64_t finished = batch_++;
    forwards_ = backwards_ = 0;
    step_ = Step::start;
    return Action{ActionKind::update, finished, 0, finished + 1};
  }

 private:
  enum class Step { start, compute, contribute, update };

  Action compute() {
    if (forwards_ < micro_batches_ && forwards_ <= backwards_ + lead_) {
      return {ActionKind::forward, batch_, forwards_++, batch_};
    }
    if (backwards_ + 1 == micro_batches_) step_ = Step::contribute;
    return {ActionKind::backward, batch_, backwards_++, batch_};
  }

  const int micro_batches_;
  const int lead_;  // forwards in flight besides the current one
  const HasBatch has_batch_;
  Step step_ = Step::start;
  std::int64_t batch_ = 0;
  int forwards_ = 0;
  int backwards_ = 0;
};

}  // namespace

Schedule one_forward_one_backward() {
  return {
      .name = "1f1b",
      .summary = "synchronous, flushed at every batch; bubble (d-1)/(m+d-1)",
      .delay = 0,
      .versions = 1,
      .gradient_buffers = 1,
      .version_read = [](std::int64_t batch) { return batch; },
      .generate = [](int stage, PipelineShape shape, HasBatch has_batch) -> StreamPtr {
        return std::make_unique<Stream>(stage, shape, std::move(has_batch));
      },
  };
}

}  // namespace penstock::schedule
