#include "engine/stage_updater.h"

#include <algorithm>
#include <stdexcept>

#include "delay/registry.h"
#include "engine/parameter_routes.h"
#include "model/views.h"
#include "optim/registry.h"

namespace penstock::engine {
namespace {

std::string group_of(model::ParameterKind kind) {
  switch (kind) {
    case model::ParameterKind::embedding:
      return "embedding";
    case model::ParameterKind::matrix:
      return "matrices";
    case model::ParameterKind::head:
      return "head";
    case model::ParameterKind::gain:
      return "gains";
  }
  throw std::logic_error("unknown kind of parameter");
}

// Work on several parameters at once needs memory for all of their updates: at most so many
// elements.
constexpr std::int64_t most_at_once = std::int64_t{1} << 26;

}  // namespace

StageUpdater::StageUpdater(const config::Config& config, const model::Layout& layout,
                           const at::Tensor& weights, Together together)
    : layout_(layout),
      schedule_(optim::lr_schedule(config)),
      momentum_(optim::momentum_schedule(config)),
      optimizer_(optim::make(config.optimizer)),
      fallback_(config.fallback ? optim::make(*config.fallback) : nullptr),
      correction_(delay::make(config.correction)) {
  for (const auto& group : config.groups) groups_.push_back(optim::make(group.optimizer));
  const auto routes = parameter_routes(config);
  const auto chain = model::units(config.model);
  auto parameter = layout_.parameters.begin();
  for (auto u = static_cast<std::size_t>(layout_.range.first);
       parameter != layout_.parameters.end(); ++u) {
    for (const auto& tensor : chain.at(u).tensors) {
      for (std::size_t p = 0; p < tensor.parameters.size(); ++p, ++parameter) {
        if (!parameter->updated) continue;
        const auto& route = routes.at(parameter->number);
        add_entry(*parameter, route, optim::optimizer_of(config, route).name, u, weights);
      }
    }
  }
  form_batches(together == Together::always || !weights.is_cpu());
}

void StageUpdater::add_entry(const model::Layout::Parameter& parameter, const optim::Route& route,
                             const std::string& optimizer_name, std::size_t unit,
                             const at::Tensor& weights) {
  const auto& optimizer = optimizer_of(route);
  entries_.push_back({&parameter, &optimizer, route.lr_factor, route.weight_decay, unit,
                      ParameterUpdater(optimizer, *correction_, route.weight_decay,
                                       model::weight_view(parameter, weights)),
                      group_of(parameter.spec.kind), optimizer_name});
}

const optim::Optimizer& StageUpdater::optimizer_of(const optim::Route& route) const {
  switch (route.rule) {
    case optim::Rule::optimizer:
      return *optimizer_;
    case optim::Rule::fallback:
      return *fallback_;
    case optim::Rule::group:
      return *groups_.at(route.group);
  }
  throw std::logic_error("unknown kind of route");
}

bool StageUpdater::goes_with(const Entry& entry, const Batch& batch) const {
  const Entry& other = entries_[batch.front()];
  const std::int64_t count = entry.place->spec.count();
  return entry.optimizer == other.optimizer && entry.unit == other.unit &&
         entry.lr_factor == other.lr_factor && entry.weight_decay == other.weight_decay &&
         entry.group == other.group && entry.place->spec.shape == other.place->spec.shape &&
         static_cast<std::int64_t>(batch.size() + 1) * count <= most_at_once;
}

void StageUpdater::form_batches(bool together) {
  for (std::size_t e = 0; e < entries_.size(); ++e) {
    const auto found = std::ranges::find_if(
        batches_, [&](const Batch& batch) { return goes_with(entries_[e], batch); });
    if (!together || !entries_[e].optimizer->gains_by_batches() || found == batches_.end()) {
      batches_.push_back({e});
    } else {
      found->push_back(e);
    }
  }
}

StageUpdater::Work StageUpdater::work_of(const Entry& entry, std::int64_t number,
                                         const Gradient& gradient,
                                         const WeightPlaces& weights) const {
  Work work{
      .gradient = gradient,
      .weights = {model::weight_view(*entry.place, weights.newest),
                  model::weight_view(*entry.place, weights.next)},
      .moment = {.step = applied_,
                 .lr = entry.optimizer->peak_lr() * entry.lr_factor * schedule_.factor(number),
                 .progress = static_cast<double>(number) / static_cast<double>(schedule_.updates)}};
  work.gradient.values = model::gradient_view(*entry.place, gradient.values);
  if (gradient.seen.defined()) work.gradient.seen = model::weight_view(*entry.place, gradient.seen);
  if (weights.compute.defined()) {
    work.weights.compute = model::weight_view(*entry.place, weights.compute);
  }
  if (momentum_.active()) {
    work.moment.momentum = momentum_.at(number, entry.optimizer->peak_momentum());
  }
  return work;
}

/// Every byte of gradient, weights and state once, and those that are written once more.
OperationWork StageUpdater::work_of(const Batch& batch, const WeightPlaces& weights) const {
  constexpr std::int64_t gradient_and_weights = 4 + 4 + 4;  // of one element
  const std::int64_t copy = weights.compute.defined() ? weights.compute.itemsize() : 0;
  std::int64_t bytes = 0;
  for (const std::size_t e : batch) {
    const Entry& entry = entries_[e];
    bytes += entry.place->spec.count() * (gradient_and_weights + copy);
    bytes += 2 * entry.updater.state_bytes();
  }
  return {.bytes = static_cast<double>(bytes)};
}

GroupChanges StageUpdater::apply(std::int64_t batch, const Gradient& gradient,
                                 const WeightPlaces& weights) {
  ++applied_;
  GroupChanges changes;
  for (const Batch& entries : batches_) {
    const OperationTimer timer(entries_[entries.front()].optimizer_name.c_str(),
                               work_of(entries, weights));
    if (entries.size() > 1) {
      apply_together(entries, batch, gradient, weights, changes);
      continue;
    }
    Entry& entry = entries_[entries.front()];
    const Work work = work_of(entry, batch, gradient, weights);
    changes[entry.group] += entry.updater.apply(work.gradient, work.moment, work.weights);
  }
  return changes;
}

void StageUpdater::apply_together(const Batch& batch, std::int64_t number, const Gradient& gradient,
                                  const WeightPlaces& weights, GroupChanges& changes) {
  std::vector<Work> works;
  std::vector<at::Tensor> inputs;
  std::vector<optim::State*> states;
  for (const std::size_t e : batch) {
    Entry& entry = entries_[e];
    const Work& work = works.emplace_back(work_of(entry, number, gradient, weights));
    inputs.push_back(entry.updater.optimizer_input(work.gradient, work.moment, work.weights));
    states.push_back(&entry.updater.optimizer_state());
  }
  const Entry& first = entries_[batch.front()];
  const auto context =
      first.updater.optimizer_context(works.front().gradient, works.front().moment);
  const auto updates = first.optimizer->update_batch(inputs, states, context);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Entry& entry = entries_[batch[i]];
    changes[entry.group] +=
        entry.updater.finish(updates[i], works[i].gradient, works[i].moment, works[i].weights);
  }
}

double StageUpdater::learning_rate(std::int64_t batch) const {
  return optimizer_->peak_lr() * schedule_.factor(batch);
}

void StageUpdater::capture(StageState& state, const std::string& prefix) const {
  state.add_integer(prefix + "applied", applied_);
  for (const auto& entry : entries_) {
    entry.updater.capture(state, prefix, entry.place->spec.name);
  }
}

void StageUpdater::restore(const StageState& state, const std::string& prefix) {
  applied_ = state.integer(prefix + "applied");
  for (auto& entry : entries_) entry.updater.restore(state, prefix, entry.place->spec.name);
}

}  // namespace penstock::engine
