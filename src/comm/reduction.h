#pragma once
// The batch-level reduction between stages: gradient norm, loss, and gradients of tied weights.

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

namespace penstock::comm {

/// One stage's share of a batch.
struct Contribution {
  /// Squared gradient norms of the parameters this stage owns, by global parameter number.
  struct Square {
    std::size_t parameter = 0;
    double value = 0;
  };
  std::vector<Square> squares;
  double loss = 0;  // mean over the batch's tokens on the stage that knows it, else 0
  /// Gradients of a weight that two units share. The reduction adds them and leaves the sum in
  /// both; their squares are then not listed above. Empty where the stage has none.
  std::span<float> tied_input;   // at the embedding
  std::span<float> tied_output;  // at the head
};

struct BatchTotal {
  double gradient_norm = 0;  // of the whole model's gradient
  double loss = 0;
};

/// All-reduce over `stages` participants in one process. Sums are formed in the order of the
/// global parameter numbers, whatever the partition and the order of arrival, so the result is the
/// same bits for any number of stages. The last to arrive does the work; nobody waits before
/// wait(), which every stage calls once per batch. Batch b + overlap may be contributed once
/// wait(b) has returned on every stage; otherwise contribute() throws std::logic_error. Memory of
/// tied gradients must stay until wait(batch) returns. Thread-safe.
class Reduction {
 public:
  static constexpr std::size_t no_parameter = static_cast<std::size_t>(-1);
  struct Setup {
    int stages = 1;
    std::size_t parameters = 0;
    std::size_t tied_parameter = no_parameter;  // the number of the shared weight
    int overlap = 2;                            // batches that may be under way
  };
  explicit Reduction(Setup setup);

  void contribute(std::int64_t batch, Contribution contribution);

  /// Blocks until every stage has contributed. Throws Closed after close().
  BatchTotal wait(std::int64_t batch);

  void close();

 private:
  struct Round {
    std::int64_t batch = -1;
    int arrived = 0;
    int collected = 0;  // stages whose wait() has returned
    std::vector<double> squares;
    double loss = 0;
    std::span<float> tied_input;
    std::span<float> tied_output;
    BatchTotal total;
  };

  Round& round_of(std::int64_t batch);
  void merge(Round& round, const Contribution& contribution) const;
  void finish(Round& round) const;

  const Setup setup_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Round> rounds_;
  bool closed_ = false;
};

}  // namespace penstock::comm
