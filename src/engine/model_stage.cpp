#include "engine/model_stage.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/operation_profile.h"
#include "engine/state_parts.h"

namespace penstock::engine {
namespace {

using std::chrono::steady_clock;

constexpr double clip_epsilon = 1e-6;

}  // namespace

ModelStage::ModelStage(ModelStageSetup setup)
    : number_(setup.number),
      config_(*setup.config),
      updates_together_(setup.updates_together),
      device_(setup.device),
      validation_micro_batches_(setup.validation_micro_batches),
      source_(std::move(setup.source)),
      reduction_(*setup.reduction),
      monitor_(setup.monitor),
      report_(std::move(setup.report)),
      restore_(std::move(setup.restore)) {
  for (const auto range : setup.chunks) {
    chunks_.emplace_back(ModelChunk::Setup{.config = setup.config,
                                           .chain = setup.chain,
                                           .range = range,
                                           .weight_versions = setup.weight_versions,
                                           .gradient_buffers = setup.gradient_buffers,
                                           .stashes_weights = setup.stashes_weights,
                                           .device = setup.device});
  }
}

void ModelStage::start() {
  c10::GradMode::set_enabled(false);
  stream_.emplace(device_);
  // Here rather than before: forwards made again have the stage's own number of threads.
  if (restore_) restore(*restore_);
  restore_.reset();
}

ModelChunk& ModelStage::chunk_of(const schedule::Action& action) {
  return chunks_.at(static_cast<std::size_t>(action.chunk));
}

bool ModelStage::computes_loss() const {
  return std::ranges::any_of(chunks_, &ModelChunk::computes_loss);
}

model::MicroBatch ModelStage::on_device(model::MicroBatch batch) const {
  batch.inputs = batch.inputs.to(device_);
  if (batch.targets.defined()) batch.targets = batch.targets.to(device_);
  return batch;
}

model::MicroBatch ModelStage::training_batch(const schedule::Action& action) {
  const ProgramPart part("data");
  const OperationTimer timer("micro-batch", {});
  return on_device(source_->training(action.batch, action.micro_batch));
}

template <class Compute>
at::Tensor ModelStage::from_message(const at::Tensor& message, Compute&& compute) const {
  stream_->use(message);
  at::Tensor result = compute();
  stream_->finish();
  return result;
}

at::Tensor ModelStage::forward(const schedule::Action& action, at::Tensor input) {
  return from_message(
      input, [&] { return chunk_of(action).forward(action, input, training_batch(action)); });
}

at::Tensor ModelStage::backward(const schedule::Action& action, at::Tensor gradient) {
  return from_message(gradient, [&] { return chunk_of(action).backward(action, gradient); });
}

at::Tensor ModelStage::backward_input(const schedule::Action& action, at::Tensor gradient) {
  return from_message(gradient, [&] { return chunk_of(action).backward_input(action, gradient); });
}

void ModelStage::backward_weight(const schedule::Action& action) {
  chunk_of(action).backward_weight(action);
}

void ModelStage::contribute(const schedule::Action& action) {
  comm::Contribution contribution;
  for (const auto& chunk : chunks_) chunk.contribute(action.batch, contribution);
  double squares = 0;
  for (const auto& square : contribution.squares) squares += square.value;
  own_squares_[action.batch] = squares;
  reduction_.contribute(action.batch, contribution);
  if (config_.output.save_every > 0) uncollected_[action.batch] = std::move(contribution);
}

void ModelStage::await_reduction(const schedule::Action& action) {
  total_ = reduction_.wait(action.batch);
  uncollected_.erase(action.batch);
  count_skipped(action.batch, total_);
  if (updates_together_ || unreported_.empty()) return;
  unreported_.front().skipped = !total_.finite;  // by whichever stage
  report_update(unreported_.front(), total_);
  unreported_.pop_front();
  report_evaluations();
}

void ModelStage::count_skipped(std::int64_t batch, const comm::BatchTotal& total) {
  skipped_in_a_row_ = total.finite ? 0 : skipped_in_a_row_ + 1;
  if (skipped_in_a_row_ < config_.train.skip_limit) return;
  throw std::runtime_error(fmt::format(
      "{} update{} in a row had to be skipped (now: loss {}, gradient norm {}), and "
      "train.skip_limit = {}; lower optimizer.lr, lengthen train.warmup or check the data of batch "
      "{}",
      skipped_in_a_row_, skipped_in_a_row_ == 1 ? "" : "s", total.loss,
      std::fabs(total.gradient_norm), config_.train.skip_limit, batch));
}

double ModelStage::clip_factor(const comm::BatchTotal& total) const {
  if (!updates_together_ || config_.train.clip == 0) return 1;
  return std::min(1.0, config_.train.clip / (total.gradient_norm + clip_epsilon));
}

StageEvent ModelStage::stage_event(std::int64_t batch) const {
  StageEvent event;
  event.stage = number_;
  event.batch = batch;
  double squares = own_squares_.at(batch);
  if (std::ranges::any_of(chunks_, &ModelChunk::holds_tied_weight)) squares += total_.tied_square;
  event.gradient_norm = std::sqrt(squares);
  event.least_delay = std::numeric_limits<std::int64_t>::max();
  for (const auto& chunk : chunks_) {
    const auto [least, most] = chunk.versions_read(batch);
    event.least_delay = std::min(event.least_delay, chunk.newest_version() - most);
    event.most_delay = std::max(event.most_delay, chunk.newest_version() - least);
  }
  return event;
}

void ModelStage::update(const schedule::Action& action) {
  deliver_capture();
  auto event = stage_event(action.batch);
  // Alone, a stage can only refuse what it sees itself.
  const bool skipped =
      !(updates_together_ ? total_.finite : std::isfinite(own_squares_.at(action.batch)));
  const double factor = skipped ? 1 : clip_factor(total_);
  for (auto& chunk : chunks_) {
    if (skipped) {
      chunk.skip(action.batch);
      continue;
    }
    for (const auto& [group, change] : chunk.update(action.batch, factor, total_.tied.get())) {
      event.groups[group] += change;
    }
  }
  stream_->finish();
  own_squares_.erase(action.batch);
  updated_ = steady_clock::now();
  const auto doing = monitor_->snapshot();
  event.usage = doing.usage;
  event.waited_for_core = doing.waited_for_core;
  report_(std::move(event));
  const Update update{action.batch, factor, skipped, updated_};
  if (updates_together_) {
    report_update(update, total_);
  } else {
    unreported_.push_back(update);
  }
}

void ModelStage::report_update(const Update& update, const comm::BatchTotal& total) {
  if (!computes_loss()) return;
  report_(UpdateEvent{.batch = update.batch,
                      .loss = total.loss,
                      .gradient_norm = total.gradient_norm,
                      .clip_factor = update.clip_factor,
                      .lr = chunks_.front().learning_rate(update.batch),
                      .skipped = update.skipped,
                      .at = update.at});
}

at::Tensor ModelStage::evaluate(const schedule::Action& action, at::Tensor input) {
  const auto batch = on_device(source_->validation(action.micro_batch));
  auto& chunk = chunk_of(action);
  at::Tensor output = from_message(input, [&] { return chunk.evaluate(action, input, batch); });
  if (chunk.computes_loss()) {
    add_validation_loss(action, output.item<double>(), batch.targets.numel());
  }
  return output;
}

void ModelStage::add_validation_loss(const schedule::Action& action, double mean_loss,
                                     std::int64_t tokens) {
  if (action.micro_batch == 0) validation_ = {};
  validation_.loss_sum += mean_loss * static_cast<double>(tokens);
  validation_.tokens += tokens;
  if (action.micro_batch + 1 < validation_micro_batches_) return;
  held_back_.push_back({.version = action.version,
                        .loss = validation_.loss_sum / static_cast<double>(validation_.tokens),
                        .tokens = validation_.tokens,
                        .begin = updated_,
                        .at = steady_clock::now()});
  report_evaluations();
}

void ModelStage::report_evaluations() {
  while (!held_back_.empty() &&
         (unreported_.empty() || held_back_.front().version <= unreported_.front().batch)) {
    report_(held_back_.front());
    held_back_.pop_front();
  }
}

void ModelStage::capture(const schedule::Action& action) {
  StageState state{.stage = number_, .cut = action.version, .tensors = {}};
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    chunks_[i].capture(state, fmt::format("chunk.{}.", i));
  }
  for (const auto& [batch, share] : uncollected_) add_share(state, batch, share);
  for (const auto& [batch, squares] : own_squares_) {
    state.add_real(fmt::format("own_squares.{}", batch), squares);
  }
  state.add_integer("skipped_in_a_row", skipped_in_a_row_);
  for (const auto& update : unreported_) {
    const std::string place = fmt::format("unreported.{}.", update.batch);
    state.add_real(place + "clip_factor", update.clip_factor);
    state.add_integer(place + "skipped", update.skipped ? 1 : 0);
  }
  for (const auto& evaluation : held_back_) {
    const std::string place = fmt::format("held_back.{}.", evaluation.version);
    state.add_real(place + "loss", evaluation.loss);
    state.add_integer(place + "tokens", evaluation.tokens);
  }
  captured_ = std::move(state);
  in_transit_ = 0;
}

void ModelStage::in_transit(const schedule::Action& receive, const schedule::Action& origin,
                            const at::Tensor& payload) {
  add_message(captured_.value(), in_transit_++, {receive, origin.version, payload});
}

/// Its messages in transit have come: a schedule with cuts has them arrive before the next update.
void ModelStage::deliver_capture() {
  if (!captured_) return;
  report_(CaptureEvent{std::move(*captured_)});
  captured_.reset();
}

void ModelStage::restore(const StageState& state) {
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    chunks_[i].restore(state, fmt::format("chunk.{}.", i),
                       [this](const schedule::Action& action) { return training_batch(action); });
  }
  for (const std::int64_t batch : batches_of_shares(state)) {
    uncollected_[batch] = share_of(state, batch);
    reduction_.contribute(batch, uncollected_[batch]);
  }
  for (const auto& batch : state.parts_behind("own_squares.")) {
    own_squares_[std::stoll(batch)] = state.real("own_squares." + batch);
  }
  skipped_in_a_row_ = state.integer("skipped_in_a_row");
  updated_ = steady_clock::now();
  // parts_behind() is in the order of texts, "10" before "9".
  std::map<std::int64_t, Update> unreported;
  for (const auto& part : state.parts_behind("unreported.")) {
    const std::string place = "unreported." + part + ".";
    unreported[std::stoll(part)] = {std::stoll(part), state.real(place + "clip_factor"),
                                    state.integer(place + "skipped") != 0, updated_};
  }
  for (const auto& [batch, update] : unreported) unreported_.push_back(update);
  std::map<std::int64_t, EvaluationEvent> held_back;
  for (const auto& part : state.parts_behind("held_back.")) {
    const std::string place = "held_back." + part + ".";
    held_back[std::stoll(part)] = {std::stoll(part), state.real(place + "loss"),
                                   state.integer(place + "tokens"), updated_, updated_};
  }
  for (const auto& [version, evaluation] : held_back) held_back_.push_back(evaluation);
}

}  // namespace penstock::engine
