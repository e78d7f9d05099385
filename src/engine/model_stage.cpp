#include "engine/model_stage.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace penstock::engine {
namespace {

using std::chrono::steady_clock;

constexpr double clip_epsilon = 1e-6;

}  // namespace

ModelStage::ModelStage(ModelStageSetup setup)
    : config_(*setup.config),
      updates_together_(setup.updates_together),
      validation_micro_batches_(setup.validation_micro_batches),
      source_(std::move(setup.source)),
      reduction_(*setup.reduction) {
  for (const auto range : setup.chunks) {
    chunks_.emplace_back(ModelChunk::Setup{.config = setup.config,
                                           .chain = setup.chain,
                                           .range = range,
                                           .weight_versions = setup.weight_versions,
                                           .gradient_buffers = setup.gradient_buffers,
                                           .stashes_weights = setup.stashes_weights});
  }
  if (computes_loss()) report_ = std::move(setup.report);
}

void ModelStage::start() { c10::GradMode::set_enabled(false); }

ModelChunk& ModelStage::chunk_of(const schedule::Action& action) {
  return chunks_.at(static_cast<std::size_t>(action.chunk));
}

bool ModelStage::computes_loss() const {
  return std::ranges::any_of(chunks_, &ModelChunk::computes_loss);
}

at::Tensor ModelStage::forward(const schedule::Action& action, at::Tensor input) {
  return chunk_of(action).forward(action, std::move(input),
                                  source_->training(action.batch, action.micro_batch));
}

at::Tensor ModelStage::backward(const schedule::Action& action, at::Tensor gradient) {
  return chunk_of(action).backward(action, gradient);
}

at::Tensor ModelStage::backward_input(const schedule::Action& action, at::Tensor gradient) {
  return chunk_of(action).backward_input(action, gradient);
}

void ModelStage::backward_weight(const schedule::Action& action) {
  chunk_of(action).backward_weight(action);
}

void ModelStage::contribute(const schedule::Action& action) {
  comm::Contribution contribution;
  for (auto& chunk : chunks_) chunk.contribute(action.batch, contribution);
  reduction_.contribute(action.batch, std::move(contribution));
}

void ModelStage::await_reduction(const schedule::Action& action) {
  total_ = reduction_.wait(action.batch);
  if (!std::isfinite(total_.gradient_norm) || !std::isfinite(total_.loss)) {
    throw std::runtime_error(fmt::format(
        "loss {} and gradient norm {} are not both finite; lower optimizer.lr, lengthen "
        "train.warmup or check the data",
        total_.loss, total_.gradient_norm));
  }
  if (updates_together_) return;
  report_update(unreported_.at(0), total_);
  unreported_.pop_front();
  report_evaluations();
}

double ModelStage::clip_factor(const comm::BatchTotal& total) const {
  if (!updates_together_ || config_.train.clip == 0) return 1;
  return std::min(1.0, config_.train.clip / (total.gradient_norm + clip_epsilon));
}

void ModelStage::update(const schedule::Action& action) {
  const double factor = clip_factor(total_);
  for (auto& chunk : chunks_) chunk.update(action.batch, factor);
  updated_ = steady_clock::now();
  const Update update{action.batch, factor, updated_};
  if (updates_together_) {
    report_update(update, total_);
  } else {
    unreported_.push_back(update);
  }
}

void ModelStage::report_update(const Update& update, const comm::BatchTotal& total) const {
  if (!report_) return;
  report_(UpdateEvent{.batch = update.batch,
                      .loss = total.loss,
                      .gradient_norm = total.gradient_norm,
                      .clip_factor = update.clip_factor,
                      .lr = chunks_.front().learning_rate(update.batch),
                      .at = update.at});
}

at::Tensor ModelStage::evaluate(const schedule::Action& action, at::Tensor input) {
  const auto batch = source_->validation(action.micro_batch);
  auto& chunk = chunk_of(action);
  at::Tensor output = chunk.evaluate(action, input, batch);
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
  if (action.micro_batch + 1 < validation_micro_batches_ || !report_) return;
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

}  // namespace penstock::engine
