#include "engine/parameter_updater.h"

#include <utility>

#include "engine/update_sweep.h"

namespace penstock::engine {
namespace {

std::string place(const std::string& prefix, const char* owner, const std::string& key,
                  const std::string& name) {
  return prefix + owner + "." + key + "." + name;
}

bool are_sweepable(const WeightPlaces& weights) {
  return weights.newest.scalar_type() == at::kFloat && sweepable(weights.newest) &&
         sweepable(weights.next);
}

}  // namespace

ParameterUpdater::ParameterUpdater(const optim::Optimizer& optimizer,
                                   const delay::Correction& correction, double weight_decay,
                                   const at::Tensor& weight)
    : optimizer_(&optimizer),
      correction_(&correction),
      weight_decay_(weight_decay),
      optimizer_state_(optimizer.init(weight)),
      correction_state_(correction.init(weight)),
      change_(weight) {}

delay::DelayContext ParameterUpdater::delay_context(const Gradient& gradient,
                                                    const Moment& moment) const {
  delay::DelayContext delay{.delay = gradient.delay, .progress = moment.progress};
  delay.keep = optimizer_->keep(context_with(delay, moment));
  return delay;
}

optim::UpdateContext ParameterUpdater::optimizer_context(const Gradient& gradient,
                                                         const Moment& moment) const {
  return context_with({.delay = gradient.delay, .progress = moment.progress}, moment);
}

/// `delay` lacks the factor of the weights, which depends on the learning rate.
optim::UpdateContext ParameterUpdater::context_with(const delay::DelayContext& delay,
                                                    const Moment& moment) const {
  return {.step = moment.step,
          .lr = moment.lr * correction_->lr_factor(delay),
          .weight_decay = weight_decay_,
          .momentum = moment.momentum};
}

double ParameterUpdater::coupled_decay() const {
  return optimizer_->couples_weight_decay() ? weight_decay_ : 0;
}

at::Tensor ParameterUpdater::optimizer_input(const Gradient& gradient, const Moment& moment,
                                             const WeightPlaces& weights) {
  at::Tensor g = gradient.scale == 1 ? gradient.values : gradient.values * gradient.scale;
  if (correction_->changes_gradient()) {
    const at::Tensor& seen = gradient.seen.defined() ? gradient.seen : weights.newest;
    g = correction_->gradient(g, weights.newest, seen.to(g.scalar_type()), correction_state_,
                              delay_context(gradient, moment));
  }
  return coupled_decay() == 0 ? g : g.add(weights.newest, coupled_decay());
}

GroupChange ParameterUpdater::apply(const Gradient& gradient, const Moment& moment,
                                    const WeightPlaces& weights) {
  if (const auto change = apply_in_one_sweep(gradient, moment, weights)) return *change;
  const at::Tensor g = optimizer_input(gradient, moment, weights);
  return finish(optimizer_->update(g, optimizer_state_, optimizer_context(gradient, moment)),
                gradient, moment, weights);
}

std::optional<GroupChange> ParameterUpdater::apply_in_one_sweep(const Gradient& gradient,
                                                                const Moment& moment,
                                                                const WeightPlaces& weights) {
  if (!are_sweepable(weights) || !sweepable(gradient.values)) return std::nullopt;
  const optim::UpdateContext context = optimizer_context(gradient, moment);
  const delay::DelayContext delay = delay_context(gradient, moment);
  const bool corrects = correction_->changes_gradient();
  if (corrects && optimizer_->looks_at_whole_gradient()) return std::nullopt;
  std::optional<kernels::Sweep> gradient_rule;
  if (corrects) gradient_rule = correction_->gradient_sweep(correction_state_, delay);
  std::optional<kernels::Sweep> step_rule;
  if (correction_->changes_step()) step_rule = correction_->step_sweep(correction_state_, delay);
  if (corrects != gradient_rule.has_value() ||
      correction_->changes_step() != step_rule.has_value()) {
    return std::nullopt;
  }
  const auto update_rule =
      optimizer_->sweep(gradient.values, gradient.scale, optimizer_state_, context);
  if (!update_rule) return std::nullopt;
  change_.before(weights.newest);
  run(UpdateSweep{.gradient = &gradient,
                  .weights = &weights,
                  .coupled_decay = coupled_decay(),
                  .keep = delay.keep,
                  .gradient_rule = gradient_rule ? &*gradient_rule : nullptr,
                  .update_rule = &*update_rule,
                  .step_rule = step_rule ? &*step_rule : nullptr,
                  .watch_update = [this](auto begin, const float* u, auto n) {
                    change_.watch_update(begin, u, n);
                  }});
  return change_.after(weights.next);
}

GroupChange ParameterUpdater::finish(const at::Tensor& update, const Gradient& gradient,
                                     const Moment& moment, const WeightPlaces& weights) {
  // An orthogonalised tall matrix comes as a transposed view.
  const at::Tensor u = update.is_cpu() ? update.contiguous() : update;
  const delay::DelayContext delay = delay_context(gradient, moment);
  change_.before(weights.newest);
  change_.watch_update(u);
  std::optional<kernels::Sweep> step_rule;
  const bool can_sweep = are_sweepable(weights) && sweepable(u);
  if (can_sweep && correction_->changes_step()) {
    step_rule = correction_->step_sweep(correction_state_, delay);
  }
  if (can_sweep && (step_rule || !correction_->changes_step())) {
    run(UpdateSweep{.u = u,
                    .weights = &weights,
                    .keep = delay.keep,
                    .step_rule = step_rule ? &*step_rule : nullptr});
    return change_.after(weights.next);
  }
  const at::Tensor step =
      correction_->changes_step() ? correction_->step(u, correction_state_, delay) : u;
  at::Tensor next = weights.next;
  at::mul_out(next, weights.newest, at::scalar_tensor(delay.keep, at::kDouble));
  next.sub_(step);
  if (weights.compute.defined()) at::Tensor(weights.compute).copy_(next);
  return change_.after(next);
}

std::int64_t ParameterUpdater::state_bytes() const {
  std::size_t bytes = 0;
  for (const auto* state : {&optimizer_state_, &correction_state_}) {
    for (const auto& [name, tensor] : state->tensors) bytes += tensor.nbytes();
  }
  return static_cast<std::int64_t>(bytes);
}

void ParameterUpdater::capture(StageState& state, const std::string& prefix,
                               const std::string& name) const {
  const auto add = [&](const char* owner, const optim::State& own) {
    for (const auto& [key, tensor] : own.tensors)
      state.add(place(prefix, owner, key, name), tensor);
    for (const auto& [key, number] : own.numbers) {
      state.add_real(place(prefix, owner, key, name), number);
    }
  };
  add("optimizer", optimizer_state_);
  add("correction", correction_state_);
  state.add(place(prefix, "sample", "previous_update", name), change_.previous_update());
}

void ParameterUpdater::restore(const StageState& state, const std::string& prefix,
                               const std::string& name) {
  const auto take = [&](const char* owner, optim::State& own) {
    for (auto& [key, tensor] : own.tensors) {
      restore_into(tensor, state, place(prefix, owner, key, name));
    }
    for (auto& [key, number] : own.numbers) number = state.real(place(prefix, owner, key, name));
  };
  take("optimizer", optimizer_state_);
  take("correction", correction_state_);
  change_.set_previous_update(state.floats(place(prefix, "sample", "previous_update", name)));
}

}  // namespace penstock::engine
