#include "engine/model_chunk.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <stdexcept>

#include "base/operation_profile.h"
#include "base/sum_of_squares.h"
#include "model/initialize.h"
#include "model/views.h"

namespace penstock::engine {
namespace {

using config::Precision;
using model::ParameterKind;

bool is_tied_copy(const model::Layout::Parameter& parameter) {
  return parameter.spec.kind == ParameterKind::embedding ||
         parameter.spec.kind == ParameterKind::head;
}

std::vector<float> values_of(const at::Tensor& tensor) {
  const at::Tensor here = tensor.cpu();
  const float* values = here.const_data_ptr<float>();
  return {values, values + here.numel()};
}

double squared_norm(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) return tensor.to(at::kDouble).square().sum().item<double>();
  return sum_of_squares({tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())});
}

OperationWork touched_once(const at::Tensor& tensor) {
  return {.bytes = static_cast<double>(tensor.nbytes())};
}

std::string numbered(const std::string& prefix, std::size_t number, const char* what) {
  return fmt::format("{}{:04}.{}", prefix, number, what);
}

void add_tape(StageState& state, const std::string& place, const model::StageModel::Tape& tape) {
  state.add_integer(place + "segments", static_cast<std::int64_t>(tape.size()));
  for (std::size_t segment = 0; segment < tape.size(); ++segment) {
    for (std::size_t i = 0; i < tape[segment].size(); ++i) {
      state.add(fmt::format("{}{:04}.{}", place, segment, i), tape[segment][i]);
    }
  }
}

model::StageModel::Tape tape_of(const StageState& state, const std::string& place,
                                at::Device device) {
  model::StageModel::Tape tape(static_cast<std::size_t>(state.integer(place + "segments")));
  for (std::size_t segment = 0; segment < tape.size(); ++segment) {
    const std::string of_segment = fmt::format("{}{:04}.", place, segment);
    for (std::size_t i = 0; state.tensors.contains(of_segment + std::to_string(i)); ++i) {
      tape[segment].push_back(state.tensor(of_segment + std::to_string(i)).to(device));
    }
  }
  return tape;
}

}  // namespace

ModelChunk::ModelChunk(const Setup& setup)
    : config_(*setup.config),
      computes_loss_(setup.range.last == static_cast<std::int64_t>(setup.chain->size())),
      stashes_weights_(setup.stashes_weights),
      layout_(model::layout(*setup.chain, setup.range, setup.config->model.tied)),
      model_(setup.config->model, *setup.chain, setup.range, setup.config->pipeline.recompute,
             setup.device),
      slots_(make_weight_sets(setup.weight_versions, setup.device)),
      updater_(config_, layout_, newest_weights()) {
  for (int i = 0; i < setup.gradient_buffers; ++i) {
    at::Tensor flat = at::zeros({layout_.gradient_count}, setup.device);
    auto tensors = model::gradient_views(layout_, flat);
    gradients_.push_back({std::move(flat), std::move(tensors)});
  }
}

std::vector<ModelChunk::WeightSet> ModelChunk::make_weight_sets(int versions,
                                                                at::Device device) const {
  at::Tensor initial = at::zeros({layout_.weight_count});
  model::initialize_weights(layout_, config_.model, static_cast<std::uint64_t>(config_.train.seed),
                            initial);
  initial = initial.to(device);
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

const ModelChunk::GradientBuffer& ModelChunk::gradients_of(std::int64_t batch) const {
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

void ModelChunk::add_loss(const InFlight& flight) {
  if (!computes_loss_) return;
  gradients_of(flight.action.batch).loss +=
      flight.loss.item<double>() / static_cast<double>(config_.pipeline.micro_batches);
}

void ModelChunk::leave_flight(std::deque<InFlight>::iterator flight) {
  ++gradients_of(flight->action.batch).micro_batches;
  in_flight_.erase(flight);
}

at::Tensor ModelChunk::forward(const schedule::Action& action, at::Tensor input,
                               model::MicroBatch batch) {
  auto lease = slots_.read(action.version);
  auto& flight =
      in_flight_.emplace_back(InFlight{action, {}, std::move(batch), std::move(input), {}, {}, {}});
  at::Tensor output = model_.forward(flight.input, flight.batch, lease->tensors, &flight.tape);
  if (stashes_weights_) flight.weights.emplace(std::move(lease));
  const auto [read, first] =
      versions_read_.try_emplace(action.batch, VersionsRead{action.version, action.version});
  read->second.least = std::min(read->second.least, action.version);
  read->second.most = std::max(read->second.most, action.version);
  if (computes_loss_) flight.loss = output;
  return output;
}

at::Tensor ModelChunk::backward(const schedule::Action& action, const at::Tensor& gradient) {
  const auto flight = find_in_flight(action);
  const auto weights = weights_for_backward(action, *flight);
  at::Tensor dx = model_.backward(gradient, flight->batch, weights->tensors, flight->tape,
                                  gradients_of(action.batch).tensors);
  add_loss(*flight);
  leave_flight(flight);
  return dx;
}

at::Tensor ModelChunk::backward_input(const schedule::Action& action, const at::Tensor& gradient) {
  const auto flight = find_in_flight(action);
  if (flight->weight_backward) throw std::logic_error("its dX is done already");
  const auto weights = weights_for_backward(action, *flight);
  flight->weight_backward.emplace();
  at::Tensor dx =
      model_.backward_input(gradient, flight->batch, weights->tensors, flight->tape,
                            gradients_of(action.batch).tensors, *flight->weight_backward);
  add_loss(*flight);
  return dx;
}

void ModelChunk::backward_weight(const schedule::Action& action) {
  const auto flight = find_in_flight(action);
  if (!flight->weight_backward) throw std::logic_error("its dX is not done yet");
  for (const auto& add_gradient : *flight->weight_backward) add_gradient();
  leave_flight(flight);
}

at::Tensor ModelChunk::evaluate(const schedule::Action& action, const at::Tensor& input,
                                const model::MicroBatch& batch) {
  return model_.forward(input, batch, slots_.read(action.version)->tensors, nullptr);
}

bool ModelChunk::holds_tied_weight() const {
  return config_.model.tied && std::ranges::any_of(layout_.parameters, is_tied_copy);
}

std::int64_t ModelChunk::delay_of(std::int64_t batch) const {
  return slots_.newest() - versions_read(batch).least;
}

ModelChunk::VersionsRead ModelChunk::versions_read(std::int64_t batch) const {
  return versions_read_.at(batch);
}

void ModelChunk::contribute(std::int64_t batch, comm::Contribution& contribution) const {
  const auto& gradients = gradients_of(batch);
  if (gradients.micro_batches != config_.pipeline.micro_batches) {
    throw std::logic_error(fmt::format("{} of {} micro-batches have contributed a gradient",
                                       gradients.micro_batches, config_.pipeline.micro_batches));
  }
  const ProgramPart part("update");
  const OperationTimer timer("gradient norm", touched_once(gradients.flat));
  contribution.loss += gradients.loss;
  for (const auto& parameter : layout_.parameters) {
    const at::Tensor values = model::gradient_view(parameter, gradients.flat);
    if (config_.model.tied && parameter.spec.kind == ParameterKind::embedding) {
      contribution.tied_input = values_of(values);
    } else if (config_.model.tied && parameter.spec.kind == ParameterKind::head) {
      contribution.tied_output = values_of(values);
    } else {
      contribution.squares.push_back({parameter.number, squared_norm(values)});
    }
  }
}

void ModelChunk::set_tied_gradients(GradientBuffer& gradients,
                                    const std::vector<float>& sum) const {
  const at::Tensor values =
      at::from_blob(const_cast<float*>(sum.data()), {static_cast<std::int64_t>(sum.size())});
  for (const auto& parameter : layout_.parameters) {
    if (!parameter.updated || !is_tied_copy(parameter)) continue;
    const at::Tensor target = model::gradient_view(parameter, gradients.flat);
    target.copy_(values.view(target.sizes()));
  }
}

GroupChanges ModelChunk::update(std::int64_t batch, double factor, const std::vector<float>* tied) {
  const ProgramPart part("update");
  auto& gradients = gradients_of(batch);
  if (tied != nullptr && holds_tied_weight()) set_tied_gradients(gradients, *tied);
  Gradient gradient{.values = gradients.flat, .scale = factor, .delay = delay_of(batch)};
  if (updater_.needs_seen_weights()) gradient.seen = slots_.peek(batch - gradient.delay).compute;
  auto lease = slots_.write(batch + 1);
  const WeightSet& next = lease.next();
  const bool bf16 = config_.train.precision == Precision::bf16;
  auto changes = updater_.apply(
      batch, gradient, {lease.newest().master, next.master, bf16 ? next.compute : at::Tensor()});
  lease.publish();
  finish(batch);
  return changes;
}

void ModelChunk::skip(std::int64_t batch) {
  auto lease = slots_.write(batch + 1);
  const WeightSet& newest = lease.newest();
  if (&newest != &lease.next()) lease.next().compute.copy_(newest.compute);
  lease.publish();
  finish(batch);
}

void ModelChunk::finish(std::int64_t batch) {
  const ProgramPart part("update");
  auto& gradients = gradients_of(batch);
  const OperationTimer timer("gradient reset", touched_once(gradients.flat));
  gradients.flat.zero_();
  gradients.loss = 0;
  gradients.micro_batches = 0;
  versions_read_.erase(batch);
}

void ModelChunk::capture(StageState& state, const std::string& prefix) const {
  updater_.capture(state, prefix);
  if (config_.train.precision == Precision::bf16) {
    state.add(prefix + "master", slots_.peek(slots_.newest()).master);
  }
  for (const std::int64_t version : slots_.versions()) {
    state.add(fmt::format("{}weights.{}", prefix, version), slots_.peek(version).compute);
  }
  for (std::size_t i = 0; i < gradients_.size(); ++i) {
    const auto& gradients = gradients_[i];
    if (gradients.micro_batches == 0 && gradients.loss == 0) continue;
    const std::string place = prefix + "gradients.";
    state.add(numbered(place, i, "sum"), gradients.flat);
    state.add_real(numbered(place, i, "loss"), gradients.loss);
    state.add_integer(numbered(place, i, "micro_batches"), gradients.micro_batches);
  }
  for (const auto& [batch, read] : versions_read_) {
    state.add_integer(fmt::format("{}read.{}.least", prefix, batch), read.least);
    state.add_integer(fmt::format("{}read.{}.most", prefix, batch), read.most);
  }
  for (std::size_t i = 0; i < in_flight_.size(); ++i) {
    const auto& [action, weights, batch, input, tape, weight_backward, loss] = in_flight_[i];
    if (weight_backward) throw std::logic_error("a cut lies between dX and dW of a micro-batch");
    const std::string place = prefix + "in_flight.";
    state.add_integer(numbered(place, i, "batch"), action.batch);
    state.add_integer(numbered(place, i, "micro_batch"), action.micro_batch);
    state.add_integer(numbered(place, i, "version"), action.version);
    state.add_integer(numbered(place, i, "chunk"), action.chunk);
    if (input.defined()) state.add(numbered(place, i, "input"), input);
    if (!stashes_weights_) add_tape(state, numbered(place, i, "tape."), tape);
  }
}

void ModelChunk::restore(
    const StageState& state, const std::string& prefix,
    const std::function<model::MicroBatch(const schedule::Action&)>& batch_of) {
  updater_.restore(state, prefix);
  std::vector<std::int64_t> versions;
  for (const auto& part : state.parts_behind(prefix + "weights.")) {
    versions.push_back(std::stoll(part));
  }
  slots_.restore(versions, [&](std::int64_t version, WeightSet& set) {
    restore_into(set.compute, state, fmt::format("{}weights.{}", prefix, version));
  });
  if (config_.train.precision == Precision::bf16) {
    restore_into(newest_weights(), state, prefix + "master");
  }
  const std::string sums = prefix + "gradients.";
  for (const auto& part : state.parts_behind(sums)) {
    const auto i = static_cast<std::size_t>(std::stoull(part));
    auto& gradients = gradients_.at(i);
    restore_into(gradients.flat, state, numbered(sums, i, "sum"));
    gradients.loss = state.real(numbered(sums, i, "loss"));
    gradients.micro_batches = state.integer(numbered(sums, i, "micro_batches"));
  }
  for (const auto& batch : state.parts_behind(prefix + "read.")) {
    const std::string place = prefix + "read." + batch;
    versions_read_[std::stoll(batch)] = {state.integer(place + ".least"),
                                         state.integer(place + ".most")};
  }
  const std::string flights = prefix + "in_flight.";
  for (const auto& part : state.parts_behind(flights)) {
    const auto i = static_cast<std::size_t>(std::stoull(part));
    const schedule::Action action{
        schedule::ActionKind::forward, state.integer(numbered(flights, i, "batch")),
        state.integer(numbered(flights, i, "micro_batch")),
        state.integer(numbered(flights, i, "version")),
        static_cast<std::int32_t>(state.integer(numbered(flights, i, "chunk")))};
    auto& flight = in_flight_.emplace_back(InFlight{action, {}, batch_of(action), {}, {}, {}, {}});
    const std::string input = numbered(flights, i, "input");
    if (state.tensors.contains(input)) {
      flight.input = state.tensor(input).to(gradients_.front().flat.device());
    }
    if (!stashes_weights_) {  // the weights that the forward read may be gone
      flight.tape = tape_of(state, numbered(flights, i, "tape."), flight.batch.inputs.device());
      if (computes_loss_) flight.loss = model::StageModel::loss(flight.tape);
      continue;
    }
    auto lease = slots_.read(action.version);
    const at::Tensor output =
        model_.forward(flight.input, flight.batch, lease->tensors, &flight.tape);
    if (computes_loss_) flight.loss = output;
    flight.weights.emplace(std::move(lease));
  }
}

}  // namespace penstock::engine
