#include "engine/model_stage.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>
#include <stdexcept>

#include "base/sum_of_squares.h"
#include "model/initialize.h"
#include "model/views.h"

namespace penstock::engine {
namespace {

using config::Precision;
using model::ParameterKind;

constexpr double clip_epsilon = 1e-6;

std::span<float> span_of(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

}  // namespace

ModelStage::ModelStage(ModelStageSetup setup)
    : config_(*setup.config),
      is_last_(setup.range.last == static_cast<std::int64_t>(setup.chain->size())),
      layout_(model::layout(*setup.chain, setup.range, setup.config->model.tied)),
      model_(setup.config->model, *setup.chain, setup.range),
      slots_(make_weight_sets(setup.weight_versions)),
      updater_(config_, layout_, newest_weights()),
      validation_micro_batches_(setup.validation_micro_batches),
      source_(std::move(setup.source)),
      reduction_(*setup.reduction),
      report_(std::move(setup.report)) {
  for (int i = 0; i < setup.gradient_buffers; ++i) {
    at::Tensor flat = at::zeros({layout_.gradient_count});
    auto tensors = model::gradient_views(layout_, flat);
    gradients_.push_back({std::move(flat), std::move(tensors)});
  }
}

std::vector<ModelStage::WeightSet> ModelStage::make_weight_sets(int versions) const {
  at::Tensor initial = at::zeros({layout_.weight_count});
  model::initialize_weights(layout_, config_.model, static_cast<std::uint64_t>(config_.train.seed),
                            initial);
  std::vector<WeightSet> sets;
  for (int v = 0; v < versions; ++v) {
    WeightSet set;
    if (config_.train.precision == Precision::bf16) {
      set.master = initial;
      set.compute = initial.to(at::kBFloat16);
    } else {
      set.master = v == 0 ? initial : at::zeros_like(initial);
      set.compute = set.master;
    }
    set.tensors = model::weight_views(layout_, set.compute);
    sets.push_back(std::move(set));
  }
  return sets;
}

void ModelStage::start() { c10::GradMode::set_enabled(false); }

at::Tensor ModelStage::newest_weights() { return slots_.read(slots_.newest())->master; }

ModelStage::GradientBuffer& ModelStage::gradients_of(std::int64_t batch) {
  return gradients_[static_cast<std::size_t>(batch) % gradients_.size()];
}

at::Tensor ModelStage::forward(const schedule::Action& action, at::Tensor input) {
  auto& flight =
      in_flight_.emplace_back(InFlight{action,
                                       slots_.read(action.version),
                                       source_->training(action.batch, action.micro_batch),
                                       {}});
  at::Tensor output = model_.forward(input, flight.batch, flight.weights->tensors, &flight.tape);
  if (is_last_) {
    gradients_of(action.batch).loss +=
        output.item<double>() / static_cast<double>(config_.pipeline.micro_batches);
  }
  return output;
}

at::Tensor ModelStage::backward(const schedule::Action& action, at::Tensor gradient) {
  auto& flight = in_flight_.at(0);
  if (flight.action.batch != action.batch || flight.action.micro_batch != action.micro_batch ||
      flight.action.version != action.version) {
    throw std::logic_error(
        fmt::format("the oldest forward in flight is {}", schedule::describe(flight.action)));
  }
  auto& gradients = gradients_of(action.batch);
  at::Tensor dx = model_.backward(gradient, flight.batch, flight.weights->tensors, flight.tape,
                                  gradients.tensors);
  ++gradients.micro_batches;
  in_flight_.pop_front();
  return dx;
}

void ModelStage::contribute(const schedule::Action& action) {
  auto& gradients = gradients_of(action.batch);
  if (gradients.micro_batches != config_.pipeline.micro_batches) {
    throw std::logic_error(fmt::format("{} of {} micro-batches have contributed a gradient",
                                       gradients.micro_batches, config_.pipeline.micro_batches));
  }
  comm::Contribution contribution;
  contribution.loss = gradients.loss;
  for (const auto& parameter : layout_.parameters) {
    const auto values = span_of(model::gradient_view(parameter, gradients.flat));
    if (config_.model.tied && parameter.spec.kind == ParameterKind::embedding) {
      contribution.tied_input = values;
    } else if (config_.model.tied && parameter.spec.kind == ParameterKind::head) {
      contribution.tied_output = values;
    } else {
      contribution.squares.push_back({parameter.number, sum_of_squares(values)});
    }
  }
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
}

double ModelStage::clip_factor() const {
  if (config_.train.clip == 0) return 1;
  return std::min(1.0, config_.train.clip / (total_.gradient_norm + clip_epsilon));
}

void ModelStage::update(const schedule::Action& action) {
  auto& gradients = gradients_of(action.batch);
  const double factor = clip_factor();
  if (factor < 1) gradients.flat.mul_(factor);
  {
    auto lease = slots_.write(action.version);
    updater_.apply(action.batch, gradients.flat, lease.newest().master, lease.next().master);
    if (config_.train.precision == Precision::bf16) {
      lease.next().compute.copy_(lease.next().master);
    }
    lease.publish();
  }
  gradients.flat.zero_();
  gradients.loss = 0;
  gradients.micro_batches = 0;
  if (report_) {
    report_(UpdateEvent{.batch = action.batch,
                        .loss = total_.loss,
                        .gradient_norm = total_.gradient_norm,
                        .clip_factor = factor,
                        .lr = updater_.learning_rate(action.batch),
                        .at = std::chrono::steady_clock::now()});
  }
}

at::Tensor ModelStage::evaluate(const schedule::Action& action, at::Tensor input) {
  const auto weights = slots_.read(action.version);
  const auto batch = source_->validation(action.micro_batch);
  at::Tensor output = model_.forward(input, batch, weights->tensors, nullptr);
  if (is_last_) add_validation_loss(action, output.item<double>(), batch.targets.numel());
  return output;
}

void ModelStage::add_validation_loss(const schedule::Action& action, double mean_loss,
                                     std::int64_t tokens) {
  if (action.micro_batch == 0) validation_ = {};
  validation_.loss_sum += mean_loss * static_cast<double>(tokens);
  validation_.tokens += tokens;
  if (action.micro_batch + 1 < validation_micro_batches_ || !report_) return;
  report_(EvaluationEvent{.version = action.version,
                          .loss = validation_.loss_sum / static_cast<double>(validation_.tokens),
                          .tokens = validation_.tokens,
                          .at = std::chrono::steady_clock::now()});
}

}  // namespace penstock::engine
