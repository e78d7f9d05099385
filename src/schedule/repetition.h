#pragma once
// Finds out, while a run goes on, whether all its stages repeat themselves from batch to batch.

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "schedule/action.h"

namespace penstock::schedule {

/// The hash of a block of actions with one more at its end; batches and versions count from
/// `from_batch`, so that blocks that are shifted copies of each other have the same hash.
std::uint64_t with_action(std::uint64_t hash, const Action& action, std::int64_t from_batch);
/// The same of what else belongs to a block.
std::uint64_t with_number(std::uint64_t hash, std::uint64_t number);

/// A stage's actions come in blocks, one per batch, known by their hashes. Memory: the stages, and
/// the batches that they are apart.
class Repetition {
 public:
  static constexpr int longest_period = 4;

  explicit Repetition(int stages) : stages_(static_cast<std::size_t>(stages)) {}

  /// The next block of a stage.
  void add(int stage, std::uint64_t block);

  /// The least number of batches, up to longest_period, after which the blocks of all stages
  /// repeated: three times in a row, in the same batches on every stage; 0 if there was none.
  int period() const;

 private:
  template <class T>
  using PerPeriod = std::array<T, longest_period>;

  struct Stage {
    std::int64_t blocks = 0;
    PerPeriod<std::uint64_t> last{};
    PerPeriod<std::int64_t> equal{};  // in a row up to the last, to those a period before
  };
  struct Batch {
    std::size_t stages = 0;             // that have added its block
    PerPeriod<std::size_t> repeated{};  // of which it was the last of three repetitions
  };

  Batch& batch(std::int64_t number);

  std::vector<Stage> stages_;
  std::deque<Batch> batches_;  // that some stages have added
  std::int64_t first_batch_ = 0;
  PerPeriod<bool> found_{};
};

}  // namespace penstock::schedule
