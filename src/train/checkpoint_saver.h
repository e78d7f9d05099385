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

/// Has a thread of its own, so that training does not wait for the disk as long as a checkpoint is
/// written before the next is due. Where it is not, training waits: memory holds one state of each
/// stage that waits for the disk, and one that its stage wants to hand over.
/// Threads: any.
class CheckpointSaver {
 public:
  struct Setup {
    checkpoint::CheckpointWriter::Setup writer;
    std::function<void()> on_failure;  ///< Called once, on the saver's thread.
  };
  explicit CheckpointSaver(Setup setup);
  /// What is incomplete leaves nothing behind.
  ~CheckpointSaver();

  /// Returns when no state of the stage waits for the disk, or at once where saving has failed. For
  /// the thread that has made the next.
  void wait_for_room(int stage);

  /// Takes the state over and returns at once. Each stage's cuts come in order.
  void save(engine::StageState state);

  /// Gives up what is not complete; both return at once from now on.
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
  std::vector<int> unwritten_;  ///< States that wait for the disk, by stage.
  std::optional<std::int64_t> newest_;
  std::exception_ptr failure_;
  bool given_up_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace penstock::train
