#pragma once
// Writes checkpoints while training goes on.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "checkpoint/checkpoint_writer.h"
#include "engine/stage_state.h"

namespace penstock::train {

/// Has a thread of its own, so that training does not wait for the disk as long as checkpoints are
/// written faster than they are due. Where they are not, training waits: memory holds so many
/// states of each stage, and one that the stage wants to hand over.
/// Threads: any.
class CheckpointSaver {
 public:
  struct Setup {
    checkpoint::CheckpointWriter::Setup writer;
    std::function<void()> on_failure;  ///< Called once, on the saver's thread.
    /// Enough for those that wait for the records before them (Schedule::reductions).
    int states_per_stage = 1;
  };
  explicit CheckpointSaver(Setup setup);
  /// What is incomplete leaves nothing behind.
  ~CheckpointSaver();

  /// Makes room for a state of the stage, which save() must be given then. Waits while there are as
  /// many as may be, wherever they are; returns at once where saving has ended. For the thread that
  /// has made the state.
  void wait_for_room(int stage);

  /// Takes the state over and returns at once. Each stage's cuts come in order.
  void save(engine::StageState state);

  /// Gives up what is not complete; both return at once from now on. Any thread.
  void abandon();

  /// Waits for everything that was given to save(). No save() may follow.
  /// Errors: what made saving fail, which ended it: std::system_error naming the file.
  void finish();

  /// The cut of the newest checkpoint that is complete and on the disk.
  std::optional<std::int64_t> newest() const;

 private:
  void run();
  std::optional<engine::StageState> next();
  void fail(std::exception_ptr failure);

  const Setup setup_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<engine::StageState> waiting_;
  std::vector<int> held_;  ///< States that room was made for and that are not written, by stage.
  std::optional<std::int64_t> newest_;
  std::exception_ptr failure_;
  bool given_up_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace penstock::train
