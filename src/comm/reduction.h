#pragma once
// The batch-level reduction between stages: gradient norm, loss, and gradients of tied weights.

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace penstock::comm {

/// One stage's share of a batch, or the merged shares of several.
struct Contribution {
  /// Squared gradient norms of the parameters this stage owns, by global parameter number.
  struct Square {
    std::size_t parameter = 0;
    double value = 0;
  };
  std::vector<Square> squares;
  double loss = 0;  // mean over the batch's tokens on the stage that knows it, else 0
  /// Gradients of a weight that two units share; empty where the stage has none. Their squares are
  /// not listed above.
  std::vector<float> tied_input;   // at the embedding
  std::vector<float> tied_output;  // at the head
};

/// The shares of all stages so far. `squares` has one entry for every parameter of the model, 0
/// where none has been contributed; each is contributed by one stage only.
struct MergedShares {
  std::vector<double> squares;
  double loss = 0;
  std::vector<float> tied_input;
  std::vector<float> tied_output;
  std::shared_ptr<const std::vector<float>> tied;  // their sum, once it is formed
};

/// Forms the sum of the tied gradients in place of the two, and enters its squared norm. Nothing
/// where there are none, or where it is formed already.
/// Errors: std::logic_error where only one is there, or their sizes differ.
void form_tied_sum(MergedShares& shares, std::size_t tied_parameter);

struct BatchTotal {
  double gradient_norm = 0;  // of the whole model's gradient
  double loss = 0;
  /// Neither a NaN nor an infinity in any gradient or in the loss.
  bool finite = true;
  /// The sum of both gradients of the tied weight, and its squared norm; null and 0 where there is
  /// none, null also where this process holds neither copy.
  std::shared_ptr<const std::vector<float>> tied;
  double tied_square = 0;
};

/// All-reduce over `stages` participants in this process, and over other processes by `exchange`.
/// Sums are formed in the order of the global parameter numbers, whatever the partition and the
/// order of arrival, so the result is the same bits for any number of stages and processes.
/// Nobody waits before wait(), which every stage calls once per batch. Batch b + overlap may be
/// contributed once wait(b) has returned on every stage; otherwise contribute() throws
/// std::logic_error. Thread-safe.
class Reduction {
 public:
  /// Adds the shares of the other processes; called once per batch, in the order of batches, on a
  /// thread of its own. What it throws leaves wait() for this batch and later ones on every stage.
  using Exchange = std::function<void(std::int64_t batch, MergedShares& shares)>;

  static constexpr std::size_t no_parameter = static_cast<std::size_t>(-1);
  struct Setup {
    int stages = 1;  // of this process
    std::size_t parameters = 0;
    std::size_t tied_parameter = no_parameter;  // the number of the shared weight
    int overlap = 2;                            // batches that may be under way
    std::int64_t first_batch = 0;
    Exchange exchange = nullptr;  // null: this process has all stages
  };
  explicit Reduction(Setup setup);
  ~Reduction();

  void contribute(std::int64_t batch, const Contribution& contribution);

  /// Blocks until every stage has contributed. Throws Closed after close().
  BatchTotal wait(std::int64_t batch);

  void close();

  /// One line for every reduction under way. Any thread.
  std::string state_text() const;

 private:
  struct Round {
    std::int64_t batch = -1;
    int arrived = 0;
    int collected = 0;  // stages whose wait() has returned
    MergedShares shares;
    bool complete = false;
    BatchTotal total;
  };

  Round& round_of(std::int64_t batch);
  void merge(Round& round, const Contribution& contribution) const;
  BatchTotal total_of(MergedShares& shares) const;
  void run_exchanges();

  const Setup setup_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Round> rounds_;
  bool closed_ = false;
  std::exception_ptr failure_;  // of the exchange
  std::int64_t failed_batch_ = 0;
  std::jthread exchanger_;
};

}  // namespace penstock::comm
