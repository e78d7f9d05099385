#pragma once
// The reductions over all stages that are under way.

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace penstock::simulate {

/// One batch's reduction.
struct Round {
  std::int64_t batch = -1;
  int contributed = 0;
  int collected = 0;
  double result_at = 0;      // complete once every stage has contributed
  std::vector<int> waiting;  // stages
};

/// A ring of rounds that grows with the number of batches under way, which the schedule bounds.
class Reductions {
 public:
  explicit Reductions(int stages) : stages_(stages), rounds_(4) {}

  Round& of(std::int64_t batch) {
    while (true) {
      Round& round = rounds_[static_cast<std::size_t>(batch) % rounds_.size()];
      if (round.batch == batch) return round;
      if (round.batch < 0 || round.collected == stages_) {
        start(round, batch);
        return round;
      }
      grow();
    }
  }
  bool complete(const Round& round) const { return round.contributed == stages_; }

 private:
  static void start(Round& round, std::int64_t batch) {
    round.batch = batch;
    round.contributed = 0;
    round.collected = 0;
    round.result_at = 0;
    round.waiting.clear();
  }

  void grow() {
    std::vector<Round> old = std::exchange(rounds_, std::vector<Round>(rounds_.size() * 2));
    for (Round& round : old) {
      if (round.batch >= 0) {
        std::swap(rounds_[static_cast<std::size_t>(round.batch) % rounds_.size()], round);
      }
    }
  }

  int stages_;
  std::vector<Round> rounds_;
};

}  // namespace penstock::simulate
