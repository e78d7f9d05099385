#include "comm/reduction.h"

#include <fmt/format.h>

#include <cmath>
#include <stdexcept>
#include <utility>

#include "base/sum_of_squares.h"
#include "comm/closed.h"

namespace penstock::comm {

void form_tied_sum(MergedShares& shares, std::size_t tied_parameter) {
  auto& [squares, loss, input, output, tied] = shares;
  if (tied || (input.empty() && output.empty())) return;
  if (input.size() != output.size()) throw std::logic_error("tied gradients differ in size");
  auto sum = std::make_shared<std::vector<float>>(std::move(input));
  for (std::size_t i = 0; i < sum->size(); ++i) (*sum)[i] += output[i];
  squares.at(tied_parameter) = sum_of_squares(*sum);
  tied = std::move(sum);
  output.clear();
}

Reduction::Reduction(Setup setup)
    : setup_(std::move(setup)), rounds_(static_cast<std::size_t>(setup_.overlap)) {
  if (setup_.exchange) exchanger_ = std::jthread([this] { run_exchanges(); });
}

Reduction::~Reduction() { close(); }

Reduction::Round& Reduction::round_of(std::int64_t batch) {
  return rounds_[static_cast<std::size_t>(batch) % rounds_.size()];
}

void Reduction::contribute(std::int64_t batch, const Contribution& contribution) {
  std::unique_lock lock(mutex_);
  if (closed_) throw Closed();
  Round& round = round_of(batch);
  if (round.batch != batch) {
    if (round.collected < setup_.stages && round.batch >= 0) {
      throw std::logic_error(fmt::format(
          "the reduction of batch {} is started, but {} of {} stages have not collected batch {}",
          batch, setup_.stages - round.collected, setup_.stages, round.batch));
    }
    round = Round{};
    round.batch = batch;
    round.shares.squares.assign(setup_.parameters, 0.0);
  }
  merge(round, contribution);
  if (++round.arrived < setup_.stages) return;
  if (setup_.exchange) {
    changed_.notify_all();
    return;
  }
  // Nobody else touches a round whose shares have all arrived until it is complete.
  lock.unlock();
  BatchTotal total = total_of(round.shares);
  lock.lock();
  round.total = std::move(total);
  round.complete = true;
  changed_.notify_all();
}

void Reduction::merge(Round& round, const Contribution& contribution) const {
  auto& shares = round.shares;
  for (const auto& [parameter, value] : contribution.squares) shares.squares.at(parameter) = value;
  shares.loss += contribution.loss;
  if (!contribution.tied_input.empty()) shares.tied_input = contribution.tied_input;
  if (!contribution.tied_output.empty()) shares.tied_output = contribution.tied_output;
}

BatchTotal Reduction::total_of(MergedShares& shares) const {
  BatchTotal total;
  if (setup_.tied_parameter != no_parameter) {
    form_tied_sum(shares, setup_.tied_parameter);
    total.tied = shares.tied;
    // A rank that holds neither copy has the square from the exchange.
    total.tied_square = shares.squares.at(setup_.tied_parameter);
  }
  double sum = 0;
  for (const double square : shares.squares) sum += square;
  total.gradient_norm = std::sqrt(sum);
  total.loss = shares.loss;
  total.finite = std::isfinite(sum) && std::isfinite(shares.loss);
  shares = {};
  return total;
}

void Reduction::run_exchanges() {
  std::unique_lock lock(mutex_);
  for (std::int64_t batch = setup_.first_batch;; ++batch) {
    Round& round = round_of(batch);
    changed_.wait(
        lock, [&] { return closed_ || (round.batch == batch && round.arrived == setup_.stages); });
    if (closed_) return;
    lock.unlock();
    BatchTotal total;
    std::exception_ptr failure;
    try {
      setup_.exchange(batch, round.shares);
      total = total_of(round.shares);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    round.total = std::move(total);
    round.complete = true;
    failure_ = failure;
    failed_batch_ = batch;
    changed_.notify_all();
    if (failure) return;
  }
}

BatchTotal Reduction::wait(std::int64_t batch) {
  std::unique_lock lock(mutex_);
  Round& round = round_of(batch);
  changed_.wait(lock,
                [&] { return closed_ || failure_ || (round.batch == batch && round.complete); });
  if (closed_) throw Closed();
  if (failure_ && batch >= failed_batch_) std::rethrow_exception(failure_);
  ++round.collected;
  return round.total;
}

std::string Reduction::state_text() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const Round& round : rounds_) {
    if (round.batch < 0 || round.collected == setup_.stages) continue;
    text += fmt::format(
        "  reduction of batch {}: {} of {} stages have contributed, {} collected{}\n", round.batch,
        round.arrived, setup_.stages, round.collected, round.complete ? "" : ", not complete");
  }
  return text.empty() ? "  no reduction is under way\n" : text;
}

void Reduction::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace penstock::comm
