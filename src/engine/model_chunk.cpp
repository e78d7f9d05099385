#include "engine/model_chunk.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <stdexcept>

#include "base/sum_of_squares.h"
#include "model/initialize.h"
#include "model/views.h"

namespace penstock::engine {
namespace {

using config::Precision;
using model::ParameterKind;

std::span<float> span_of(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

}  // namespace

ModelChunk::ModelChunk(const Setup& setup)
    : config_(*setup.config),
      computes_loss_(setup.range.last == static_cast<std::int64_t>(setup.chain->size())),
      stashes_weights_(setup.stashes_weights),
      layout_(model::layout(*setup.chain, setup.range, setup.config->model.tied)),
      model_(setup.config->model, *setup.chain, setup.range),
      slots_(make_weight_sets(setup.weight_versions)),
      updater_(config_, layout_, newest_weights()) {
  for (int i = 0; i < setup.gradient_buffers; ++i) {
    at::Tensor flat = at::zeros({layout_.gradient_count});
    auto tensors = model::gradient_views(layout_, flat);
    gradients_.push_back({std::move(flat), std::move(tensors)});
  }
}

std::vector<ModelChunk::WeightSet> ModelChunk::make_weight_sets(int versions) const {
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

at::Tensor ModelChunk::newest_weights() { return slots_.read(slots_.newest())->master; }

ModelChunk::GradientBuffer& ModelChunk::gradients_of(std::int64_t batch) {
  return gradients_[static_cast<std::size_t>(batch) % gradients_.size()];
}

std::deque<ModelChunk::InFlight>::iterator ModelChunk::find_in_flight(
    const schedule::Action& action) {
  const auto found = std::ranges::find_if(in_flight_, [&](const InFlight& flight) {
    return flight.action.batch == action.batch && flight.action.micro_batch == action.micro_batch;
  });
  if (found == in_flight_.end()) throw std::logic_error("its forward is not in flight");
  return found;
}

WeightSlots<ModelChunk::WeightSet>::ReadLease ModelChunk::weights_for_backward(
    const schedule::Action& action, InFlight& flight) {
  if (!stashes_weights_) return slots_.read(action.version);
  if (flight.action.version != action.version) {
    throw std::logic_error(
        fmt::format("the forward in flight is {}", schedule::describe(flight.action)));
  }
  auto lease = std::move(*flight.weights);
  flight.weights.reset();
  return lease;
}

void ModelChunk::finish(std::deque<InFlight>::iterator flight) {
  ++gradients_of(flight->action.batch).micro_batches;
  in_flight_.erase(flight);
}

at::Tensor ModelChunk::forward(const schedule::Action& action, at::Tensor input,
                               model::MicroBatch batch) {
  auto lease = slots_.read(action.version);
  auto& flight = in_flight_.emplace_back(InFlight{action, {}, std::move(batch), {}, {}});
  at::Tensor output = model_.forward(input, flight.batch, lease->tensors, &flight.tape);
  if (stashes_weights_) flight.weights.emplace(std::move(lease));
  if (computes_loss_) {
    gradients_of(action.batch).loss +=
        output.item<double>() / static_cast<double>(config_.pipeline.micro_batches);
  }
  return output;
}

at::Tensor ModelChunk::backward(const schedule::Action& action, const at::Tensor& gradient) {
  const auto flight = find_in_flight(action);
  const auto weights = weights_for_backward(action, *flight);
  at::Tensor dx = model_.backward(gradient, flight->batch, weights->tensors, flight->tape,
                                  gradients_of(action.batch).tensors);
  finish(flight);
  return dx;
}

at::Tensor ModelChunk::backward_input(const schedule::Action& action, const at::Tensor& gradient) {
  const auto flight = find_in_flight(action);
  if (flight->weight_backward) throw std::logic_error("its dX is done already");
  const auto weights = weights_for_backward(action, *flight);
  flight->weight_backward.emplace();
  return model_.backward_input(gradient, flight->batch, weights->tensors, flight->tape,
                               gradients_of(action.batch).tensors, *flight->weight_backward);
}

void ModelChunk::backward_weight(const schedule::Action& action) {
  const auto flight = find_in_flight(action);
  if (!flight->weight_backward) throw std::logic_error("its dX is not done yet");
  for (const auto& add_gradient : *flight->weight_backward) add_gradient();
  finish(flight);
}

at::Tensor ModelChunk::evaluate(const schedule::Action& action, const at::Tensor& input,
                                const model::MicroBatch& batch) {
  return model_.forward(input, batch, slots_.read(action.version)->tensors, nullptr);
}

void ModelChunk::contribute(std::int64_t batch, comm::Contribution& contribution) {
  auto& gradients = gradients_of(batch);
  if (gradients.micro_batches != config_.pipeline.micro_batches) {
    throw std::logic_error(fmt::format("{} of {} micro-batches have contributed a gradient",
                                       gradients.micro_batches, config_.pipeline.micro_batches));
  }
  contribution.loss += gradients.loss;
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
}

void ModelChunk::update(std::int64_t batch, double factor) {
  auto& gradients = gradients_of(batch);
  if (factor < 1) gradients.flat.mul_(factor);
  auto lease = slots_.write(batch + 1);
  updater_.apply(batch, gradients.flat, lease.newest().master, lease.next().master);
  if (config_.train.precision == Precision::bf16) {
    lease.next().compute.copy_(lease.next().master);
  }
  lease.publish();
  gradients.flat.zero_();
  gradients.loss = 0;
  gradients.micro_batches = 0;
}

}  // namespace penstock::engine
