#include "engine/pure/fake_stage.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <tuple>

namespace penstock::tests {
namespace {

using schedule::Action;

std::vector<FakeWeights> initial_slots(LayerRange range, int versions) {
  FakeWeights initial;
  for (int layer = range.first; layer < range.end; ++layer) {
    initial.layers.push_back(first_weight(layer));
  }
  return std::vector<FakeWeights>(static_cast<std::size_t>(versions), initial);
}

bool same_micro_batch(const Action& a, const Action& b) {
  return a.batch == b.batch && a.micro_batch == b.micro_batch;
}

}  // namespace

std::int64_t with_total(std::int64_t sums, double norm, double loss, bool finite) {
  const std::int64_t total = finite ? whole(norm) * 31 + whole(loss) + 1 : 0;
  return (sums * 37 + total) % modulus;
}

bool same(const FakeState& a, const FakeState& b) {
  const auto batches = [](const FakeState& state) {
    std::vector<std::int64_t> result;
    for (const auto& [batch, share] : state.shares) result.push_back(batch);
    return result;
  };
  return batches(a) == batches(b) &&
         std::tie(a.stage, a.cut, a.chunks, a.own_finite, a.counters, a.in_transit) ==
             std::tie(b.stage, b.cut, b.chunks, b.own_finite, b.counters, b.in_transit);
}

// ---- one piece of the model

FakeChunk::FakeChunk(int piece, const FakeModel& model, const schedule::Schedule& schedule,
                     int stage, schedule::PipelineShape shape)
    : model_(model),
      range_(layers_of(piece, shape.pieces(), model.layers)),
      is_first_(piece == 0),
      is_last_(piece + 1 == shape.pieces()),
      stashes_(schedule.stashes_weights),
      micro_batches_(shape.micro_batches),
      slots_(initial_slots(range_, schedule.limits(stage, shape).versions)) {
  FakeGradients none;
  none.layers.resize(static_cast<std::size_t>(range_.end - range_.first));
  gradients_.assign(static_cast<std::size_t>(schedule.limits(stage, shape).gradient_buffers), none);
}

std::deque<FakeChunk::InFlight>::iterator FakeChunk::find(const Action& action) {
  const auto found = std::ranges::find_if(in_flight_, [&](const InFlight& flight) {
    return same_micro_batch(flight.value.action, action);
  });
  if (found == in_flight_.end()) throw std::logic_error("its forward is not in flight");
  return found;
}

FakeGradients& FakeChunk::gradients_of(std::int64_t batch) {
  return gradients_[static_cast<std::size_t>(batch) % gradients_.size()];
}

Payload FakeChunk::through_layers(const FakeWeights& weights, Payload x,
                                  std::vector<Payload>* inputs) const {
  if (is_first_) x = (x + weights.tied_input) % modulus;
  for (const Payload weight : weights.layers) {
    if (inputs != nullptr) inputs->push_back(x);
    x = forward_through(x, weight);
  }
  return is_last_ ? (x + weights.tied_output) % modulus : x;
}

Payload FakeChunk::forward(const Action& action, Payload input) {
  auto lease = slots_.read(action.version);
  auto& flight = in_flight_.emplace_back();
  flight.value.action = action;
  if (is_first_) input = sample(action.batch, action.micro_batch);
  flight.value.output = through_layers(*lease, input, &flight.value.inputs);
  if (is_last_) gradients_of(action.batch).loss += loss_of(flight.value.output);
  if (stashes_) flight.lease.emplace(std::move(lease));
  return flight.value.output;
}

Payload FakeChunk::backward_input(const Action& action, Payload gradient) {
  auto& [flight, lease] = *find(action);
  if (flight.split) throw std::logic_error("its dX is done already");
  if (stashes_ && flight.action.version != action.version) {
    throw std::logic_error("the forward in flight is " + schedule::describe(flight.action));
  }
  const auto weights = stashes_ ? std::move(*lease) : slots_.read(action.version);
  lease.reset();
  flight.split = true;
  flight.gradients.resize(flight.inputs.size());
  Payload g = is_last_ ? flight.output : gradient;
  for (std::size_t layer = flight.inputs.size(); layer-- > 0;) {
    flight.gradients[layer] = g;
    g = backward_through(g, weights->layers[layer]);
  }
  flight.input_gradient = g;
  return g;
}

void FakeChunk::backward_weight(const Action& action) {
  const auto found = find(action);
  const FakeFlight& flight = found->value;
  if (!flight.split) throw std::logic_error("its dX is not done yet");
  FakeGradients& sums = gradients_of(action.batch);
  for (std::size_t layer = 0; layer < flight.inputs.size(); ++layer) {
    sums.layers[layer] =
        (sums.layers[layer] + weight_gradient(flight.inputs[layer], flight.gradients[layer])) %
        modulus;
  }
  if (is_first_) add_tied_input(sums.tied_input, flight.input_gradient);
  if (is_last_) add_tied_output(sums.tied_output, flight.output);
  ++sums.micro_batches;
  in_flight_.erase(found);
}

Payload FakeChunk::evaluate(const Action& action, Payload input) {
  if (is_first_) input = validation_sample(action.micro_batch);
  return through_layers(*slots_.read(action.version), input, nullptr);
}

void FakeChunk::contribute(std::int64_t batch, comm::Contribution& contribution) {
  const FakeGradients& sums = gradients_of(batch);
  if (sums.micro_batches != micro_batches_) throw std::logic_error("micro-batches are missing");
  for (int layer = range_.first; layer < range_.end; ++layer) {
    const double part = norm_part(sums.layers[static_cast<std::size_t>(layer - range_.first)]);
    contribution.squares.push_back({static_cast<std::size_t>(layer) + 1, part * part});
  }
  if (is_first_) contribution.tied_input.assign(sums.tied_input.begin(), sums.tied_input.end());
  if (is_last_) contribution.tied_output.assign(sums.tied_output.begin(), sums.tied_output.end());
  contribution.loss += sums.loss;
  for (const Poison& poison : model_.poisons) {
    if (poison.batch == batch) add(poison, contribution);
  }
}

void FakeChunk::add(const Poison& poison, comm::Contribution& contribution) const {
  const auto value = static_cast<float>(poison.value);
  switch (poison.in) {
    case Poison::In::gradient:
      for (auto& square : contribution.squares) {
        if (square.parameter == static_cast<std::size_t>(poison.layer) + 1) {
          square.value = poison.value;
        }
      }
      break;
    case Poison::In::loss:
      if (is_last_) contribution.loss = poison.value;
      break;
    case Poison::In::tied_input:
      if (is_first_) contribution.tied_input[1] = value;
      break;
    case Poison::In::tied_output:
      if (is_last_) contribution.tied_output[1] = value;
      break;
  }
}

void FakeChunk::update(const Action& action, const comm::BatchTotal* total) {
  const FakeGradients& sums = gradients_of(action.batch);
  const std::int64_t norm = total == nullptr ? 0 : whole(total->gradient_norm);
  auto lease = slots_.write(action.version);
  const FakeWeights newest = lease.newest();
  FakeWeights& next = lease.next();
  for (int layer = range_.first; layer < range_.end; ++layer) {
    const auto i = static_cast<std::size_t>(layer - range_.first);
    next.layers[i] = next_weight(newest.layers[i], sums.layers[i], layer, norm);
  }
  if (total != nullptr) {
    next.tied_input = next_tied(newest.tied_input, *total->tied);
    next.tied_output = next_tied(newest.tied_output, *total->tied);
  } else {
    next.tied_input = next_tied(newest.tied_input, sums.tied_input);
    next.tied_output = next_tied(newest.tied_output, sums.tied_output);
  }
  lease.publish();
  finish(action.batch);
}

void FakeChunk::skip(const Action& action) {
  auto lease = slots_.write(action.version);
  lease.next() = FakeWeights(lease.newest());
  lease.publish();
  finish(action.batch);
}

void FakeChunk::finish(std::int64_t batch) {
  FakeGradients& sums = gradients_of(batch);
  const std::size_t layers = sums.layers.size();
  sums = {};
  sums.layers.resize(layers);
}

FakeChunkState FakeChunk::capture() const {
  FakeChunkState state;
  for (const std::int64_t version : slots_.versions()) {
    state.versions[version] = slots_.peek(version);
  }
  state.gradients = gradients_;
  for (const auto& flight : in_flight_) state.in_flight.push_back(flight.value);
  return state;
}

void FakeChunk::restore(const FakeChunkState& state) {
  std::vector<std::int64_t> versions;
  for (const auto& [version, weights] : state.versions) versions.push_back(version);
  slots_.restore(versions, [&](std::int64_t version, FakeWeights& weights) {
    weights = state.versions.at(version);
  });
  gradients_ = state.gradients;
  for (const FakeFlight& saved : state.in_flight) {
    auto& flight = in_flight_.emplace_back();
    flight.value = saved;
    if (stashes_ && !saved.split) flight.lease.emplace(slots_.read(saved.action.version));
  }
}

// ---- the stage

FakeStage::FakeStage(Setup setup) : setup_(std::move(setup)) {
  for (int c = 0; c < setup_.shape.chunks; ++c) {
    const int piece =
        schedule::piece_at(setup_.schedule->placement, setup_.shape, {setup_.number, c});
    chunks_.emplace_back(piece, *setup_.model, *setup_.schedule, setup_.number, setup_.shape);
  }
}

void FakeStage::start() {
  if (setup_.restore != nullptr) restore(*setup_.restore);
  if (setup_.in_start) setup_.in_start(setup_.number);
}

void FakeStage::finish() {
  if (setup_.in_finish) setup_.in_finish(setup_.number);
  deliver_capture();
  for (const auto& chunk : chunks_) {
    if (chunk.in_flight() > 0) throw std::logic_error("micro-batches are left in flight");
  }
}

void FakeStage::enter(const Action& action) const {
  if (setup_.in_action) setup_.in_action(setup_.number, action);
}

void FakeStage::check_in_flight() const {
  std::size_t flights = 0;
  for (const auto& chunk : chunks_) flights += chunk.in_flight();
  const int most = setup_.schedule->limits(setup_.number, setup_.shape).in_flight;
  if (flights > static_cast<std::size_t>(most)) throw std::logic_error("too many are in flight");
}

Payload FakeStage::forward(const Action& action, Payload input) {
  enter(action);
  const Payload output = chunk_of(action).forward(action, input);
  check_in_flight();
  return output;
}

Payload FakeStage::backward(const Action& action, Payload gradient) {
  enter(action);
  const Payload result = chunk_of(action).backward_input(action, gradient);
  chunk_of(action).backward_weight(action);
  return result;
}

Payload FakeStage::backward_input(const Action& action, Payload gradient) {
  enter(action);
  return chunk_of(action).backward_input(action, gradient);
}

void FakeStage::backward_weight(const Action& action) {
  enter(action);
  chunk_of(action).backward_weight(action);
}

void FakeStage::contribute(const Action& action) {
  enter(action);
  comm::Contribution contribution;
  for (auto& chunk : chunks_) chunk.contribute(action.batch, contribution);
  double squares = 0;
  for (const auto& square : contribution.squares) squares += square.value;
  own_finite_[action.batch] = std::isfinite(squares);
  setup_.reduction->contribute(action.batch, contribution);
  shares_[action.batch] = std::move(contribution);
}

void FakeStage::await_reduction(const Action& action) {
  enter(action);
  total_ = setup_.reduction->wait(action.batch);
  shares_.erase(action.batch);
  counters_.sums = with_total(counters_.sums, total_.gradient_norm, total_.loss, total_.finite);
}

void FakeStage::update(const Action& action) {
  deliver_capture();
  enter(action);
  const bool together = setup_.schedule->updates_together;
  const bool finite = together ? total_.finite : own_finite_.at(action.batch);
  if (!finite) counters_.skipped.push_back(action.batch);
  for (auto& chunk : chunks_) {
    finite ? chunk.update(action, together ? &total_ : nullptr) : chunk.skip(action);
  }
  own_finite_.erase(action.batch);
}

Payload FakeStage::evaluate(const Action& action, Payload input) {
  enter(action);
  const Payload output = chunk_of(action).evaluate(action, input);
  if (chunk_of(action).is_last()) evaluations_.emplace_back(action.version, output);
  return output;
}

void FakeStage::capture(const Action& action) {
  enter(action);
  FakeState state;
  state.stage = setup_.number;
  state.cut = action.version;
  for (const auto& chunk : chunks_) state.chunks.push_back(chunk.capture());
  state.shares = shares_;
  state.own_finite = own_finite_;
  state.counters = counters_;
  if (captured_) throw std::logic_error("the capture before was not complete");
  captured_ = std::move(state);
}

void FakeStage::in_transit(const Action& receive, const Action& origin, const Payload& payload) {
  captured_.value().in_transit.push_back({receive, origin.version, payload});
}

void FakeStage::deliver_capture() {
  if (!captured_) return;
  setup_.captured(std::move(*captured_));
  captured_.reset();
}

void FakeStage::restore(const FakeState& state) {
  for (std::size_t c = 0; c < chunks_.size(); ++c) chunks_[c].restore(state.chunks.at(c));
  for (const auto& [batch, share] : state.shares) setup_.reduction->contribute(batch, share);
  shares_ = state.shares;
  own_finite_ = state.own_finite;
  counters_ = state.counters;
}

}  // namespace penstock::tests
