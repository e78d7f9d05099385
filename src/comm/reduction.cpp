#include "comm/reduction.h"

#include <fmt/format.h>

#include <cmath>
#include <stdexcept>

#include "base/sum_of_squares.h"
#include "comm/closed.h"

namespace penstock::comm {
namespace {

void add_into_both(std::span<float> a, std::span<float> b) {
  if (a.size() != b.size()) throw std::logic_error("tied gradients differ in size");
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = b[i] = a[i] + b[i];
}

}  // namespace

Reduction::Reduction(Setup setup)
    : setup_(setup), rounds_(static_cast<std::size_t>(setup.overlap)) {}

Reduction::Round& Reduction::round_of(std::int64_t batch) {
  return rounds_[static_cast<std::size_t>(batch) % rounds_.size()];
}

void Reduction::contribute(std::int64_t batch, Contribution contribution) {
  const std::lock_guard lock(mutex_);
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
    round.squares.assign(setup_.parameters, 0.0);
  }
  merge(round, contribution);
  if (++round.arrived < setup_.stages) return;
  finish(round);
  changed_.notify_all();
}

void Reduction::merge(Round& round, const Contribution& contribution) const {
  for (const auto& [parameter, value] : contribution.squares) round.squares.at(parameter) = value;
  round.loss += contribution.loss;
  if (!contribution.tied_input.empty()) round.tied_input = contribution.tied_input;
  if (!contribution.tied_output.empty()) round.tied_output = contribution.tied_output;
}

void Reduction::finish(Round& round) const {
  if (setup_.tied_parameter != no_parameter) {
    add_into_both(round.tied_input, round.tied_output);
    round.squares.at(setup_.tied_parameter) = sum_of_squares(round.tied_input);
  }
  double sum = 0;
  for (const double square : round.squares) sum += square;
  round.total = {.gradient_norm = std::sqrt(sum), .loss = round.loss};
}

BatchTotal Reduction::wait(std::int64_t batch) {
  std::unique_lock lock(mutex_);
  Round& round = round_of(batch);
  changed_.wait(
      lock, [&] { return closed_ || (round.batch == batch && round.arrived == setup_.stages); });
  if (closed_) throw Closed();
  ++round.collected;
  return round.total;
}

void Reduction::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace penstock::comm
