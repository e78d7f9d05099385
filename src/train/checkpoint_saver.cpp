#include "train/checkpoint_saver.h"

#include <utility>

namespace penstock::train {

CheckpointSaver::CheckpointSaver(Setup setup)
    : setup_(std::move(setup)), held_(static_cast<std::size_t>(setup_.writer.stages), 0) {
  thread_ = std::thread([this] { run(); });
}

CheckpointSaver::~CheckpointSaver() {
  try {
    finish();
  } catch (...) {  // whoever wanted to know has asked before
  }
}

void CheckpointSaver::wait_for_room(int stage) {
  std::unique_lock lock(mutex_);
  int& held = held_.at(static_cast<std::size_t>(stage));
  changed_.wait(lock, [&] { return given_up_ || held < setup_.states_per_stage; });
  ++held;
}

void CheckpointSaver::save(engine::StageState state) {
  {
    const std::lock_guard lock(mutex_);
    if (given_up_) return;
    waiting_.push_back(std::move(state));
  }
  changed_.notify_all();
}

void CheckpointSaver::abandon() {
  {
    const std::lock_guard lock(mutex_);
    given_up_ = true;
    ended_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
}

void CheckpointSaver::finish() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (failure_) std::rethrow_exception(failure_);
}

std::optional<std::int64_t> CheckpointSaver::newest() const {
  const std::lock_guard lock(mutex_);
  return newest_;
}

std::optional<engine::StageState> CheckpointSaver::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ended_ || !waiting_.empty(); });
  if (waiting_.empty()) return std::nullopt;
  auto state = std::move(waiting_.front());
  waiting_.pop_front();
  return state;
}

void CheckpointSaver::run() {
  // Goes with the thread: what a failure left incomplete gives its space back at once.
  checkpoint::CheckpointWriter writer(setup_.writer);
  try {
    while (auto state = next()) {
      const int stage = state->stage;
      const std::int64_t cut = state->cut;
      const bool complete = writer.write({stage, cut, std::exchange(state->tensors, {})});
      const std::lock_guard lock(mutex_);
      if (complete) newest_ = cut;
      --held_[static_cast<std::size_t>(stage)];
      changed_.notify_all();
    }
  } catch (...) {
    fail(std::current_exception());
  }
}

void CheckpointSaver::fail(std::exception_ptr failure) {
  {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(failure);
  }
  abandon();
  setup_.on_failure();
}

}  // namespace penstock::train
