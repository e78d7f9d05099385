#include "engine/stage_updater.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "delay/registry.h"
#include "model/initialize.h"
#include "model/views.h"
#include "optim/registry.h"
#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using model::ParameterKind;
using tests::small_config;

/// Two optimizers that share neither learning rate nor weight decay.
config::Config muon_with_fallback() {
  return small_config({"optimizer.name=muon", "optimizer.lr=0.25", "optimizer.weight_decay=0.5",
                       "optimizer.fallback.name=adamw", "optimizer.fallback.lr=0.125",
                       "optimizer.fallback.weight_decay=0.25"});
}

/// The whole model on one stage, from W(0).
struct WholeModel {
  config::Config config;
  std::vector<model::Unit> chain = model::units(config.model);
  model::Layout layout =
      model::layout(chain, {0, static_cast<std::int64_t>(chain.size())}, config.model.tied);
  at::Tensor weights = at::zeros({layout.weight_count});

  explicit WholeModel(config::Config c) : config(std::move(c)) {
    model::initialize_weights(layout, config.model, 0, weights);
  }

  /// What the definition of warm-up gives for the first updates, independent of LrSchedule.
  double warmup_factor(std::int64_t batch) const {
    return static_cast<double>(batch + 1) / static_cast<double>(config.train.warmup);
  }
};

std::map<std::string, config::Value> delay_defaults(const std::string& name) {
  std::map<std::string, config::Value> options;
  for (const auto& entry : delay::registry()) {
    if (entry.spec.name != name) continue;
    for (const auto& option : entry.spec.options) {
      if (option.default_value) options[option.key] = *option.default_value;
    }
  }
  return options;
}

at::Tensor random_like(const at::Tensor& tensor, std::int64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<std::uint64_t>(seed));
  return at::randn(tensor.sizes(), generator, tensor.options());
}

TEST(StageUpdater, WithoutAGradientOnlyDecayActsAndNotOnGains) {
  WholeModel run(muon_with_fallback());
  StageUpdater updater(run.config, run.layout, run.weights);
  at::Tensor next = at::zeros_like(run.weights);
  updater.apply(0, {at::zeros({run.layout.gradient_count})}, {run.weights, next});
  std::set<ParameterKind> kinds;
  for (const auto& parameter : run.layout.parameters) {
    const ParameterKind kind = parameter.spec.kind;
    kinds.insert(kind);
    const double decay = kind == ParameterKind::gain     ? 0
                         : kind == ParameterKind::matrix ? 0.25 * 0.5
                                                         : 0.125 * 0.25;
    const at::Tensor before = model::weight_view(parameter, run.weights);
    EXPECT_TRUE(
        at::equal(model::weight_view(parameter, next), before * (1 - decay * run.warmup_factor(0))))
        << parameter.spec.name;
  }
  EXPECT_EQ(kinds.size(), 4U);
}

/// Three updates; every parameter against the optimizer that should have got it.
void expect_routes(const config::Config& config,
                   const std::function<config::ComponentConfig(ParameterKind)>& component_of) {
  WholeModel run(config);
  StageUpdater updater(run.config, run.layout, run.weights);
  std::vector<at::Tensor> versions{run.weights};
  std::vector<at::Tensor> gradients;
  for (std::int64_t batch = 0; batch < 3; ++batch) {
    gradients.push_back(random_like(at::zeros({run.layout.gradient_count}), batch));
    versions.push_back(at::zeros_like(run.weights));
    const auto v = static_cast<std::size_t>(batch);
    updater.apply(batch, {gradients[v]}, {versions[v], versions[v + 1]});
  }
  for (const auto& parameter : run.layout.parameters) {
    SCOPED_TRACE(parameter.spec.name);
    const auto optimizer = optim::make(component_of(parameter.spec.kind));
    const bool decays = parameter.spec.kind != ParameterKind::gain;
    at::Tensor expected = model::weight_view(parameter, run.weights).clone();
    auto state = optimizer->init(expected);
    for (std::int64_t batch = 0; batch < 3; ++batch) {
      const auto v = static_cast<std::size_t>(batch);
      const double lr = optimizer->peak_lr() * run.warmup_factor(batch);
      const at::Tensor u = optimizer->update(model::gradient_view(parameter, gradients[v]), state,
                                             {.step = batch + 1, .lr = lr});
      expected = expected * (1 - lr * (decays ? optimizer->weight_decay() : 0)) - u;
      // A sweep rounds fewer products than single tensors do: a few times 6e-8 per update. The
      // other optimizer's updates are twice as long or half.
      EXPECT_TRUE(
          at::allclose(model::weight_view(parameter, versions[v + 1]), expected, 1e-6, 1e-7))
          << batch;
    }
  }
}

TEST(StageUpdater, MuonTakesTheMatricesAndTheFallbackTheRest) {
  const auto config = muon_with_fallback();
  ASSERT_TRUE(config.fallback);
  expect_routes(config, [&](ParameterKind kind) {
    return kind == ParameterKind::matrix ? config.optimizer : *config.fallback;
  });
}

TEST(StageUpdater, AdamwTakesEverything) {
  const auto config = small_config({"optimizer.weight_decay=0.25"});
  ASSERT_FALSE(config.fallback);
  expect_routes(config, [&](ParameterKind) { return config.optimizer; });
}

TEST(StageUpdater, GroupsFactorsAndScheduledMomentumReachTheirParameters) {
  const auto config =
      small_config({"optimizer.name=sgd", "optimizer.lr=0.5", "optimizer.momentum=0.9",
                    "optimizer.group.0.match=*.q_proj.weight", "optimizer.group.0.lr_factor=0.25",
                    "optimizer.group.1.match=[\"*_proj.weight\"]", "optimizer.group.1.name=signum",
                    "optimizer.group.1.lr=0.125", "optimizer.group.1.weight_decay=0.5",
                    "train.momentum_warmup=2", "train.momentum_start=0.5"});
  WholeModel run(config);
  StageUpdater updater(run.config, run.layout, run.weights);
  const at::Tensor gradient = at::ones({run.layout.gradient_count});
  at::Tensor first = at::zeros_like(run.weights);
  at::Tensor second = at::zeros_like(run.weights);
  updater.apply(0, {gradient}, {run.weights, first});
  updater.apply(1, {gradient}, {first, second});
  for (const auto& parameter : run.layout.parameters) {
    const std::string& name = parameter.spec.name;
    SCOPED_TRACE(name);
    const at::Tensor w = model::weight_view(parameter, first);
    const at::Tensor step = w - model::weight_view(parameter, second);
    const double factor = run.warmup_factor(1);
    const bool is_query = name.find("q_proj") != std::string::npos;
    if (!is_query && name.find("_proj") != std::string::npos) {
      // The sign of ones, and half of the weights' decay.
      EXPECT_TRUE(at::allclose(step, (1 + 0.5 * w) * (0.125 * factor), 1e-4, 1e-6));
      continue;
    }
    // buf = 1, then momentum 1 + 1, in a warm-up from 0.5 to 0.9 over two updates 0.7.
    const double lr = 0.5 * (is_query ? 0.25 : 1) * factor;
    EXPECT_TRUE(at::allclose(step, at::full_like(step, 1.7 * lr), 1e-4, 1e-6));
  }
}

TEST(StageUpdater, ParametersOfOneShapeTogetherAreTheSameAsOneByOne) {
  auto config = muon_with_fallback();
  config.correction.name = "error_feedback";
  config.correction.options = delay_defaults("error_feedback");
  WholeModel run(config);
  using Together = StageUpdater::Together;
  StageUpdater alone(run.config, run.layout, run.weights);
  StageUpdater together(run.config, run.layout, run.weights, Together::always);
  at::Tensor x = run.weights;
  at::Tensor y = run.weights;
  for (std::int64_t batch = 0; batch < 4; ++batch) {
    const Gradient gradient{.values = random_like(at::zeros({run.layout.gradient_count}), batch),
                            .scale = 0.5,
                            .delay = batch > 0 ? 1 : 0};
    at::Tensor next_x = at::zeros_like(x);
    at::Tensor next_y = at::zeros_like(y);
    alone.apply(batch, gradient, {x, next_x});
    together.apply(batch, gradient, {y, next_y});
    EXPECT_FALSE(at::equal(next_x, x));
    // The fused sweep of AdamW and its tensors round differently: 4 updates of a few times 6e-8.
    EXPECT_TRUE(at::allclose(next_x, next_y, 1e-6, 1e-7)) << batch;
    x = next_x;
    y = next_y;
  }
}

TEST(StageUpdater, TheLearningRateFollowsTheSchedule) {
  WholeModel run(muon_with_fallback());
  const StageUpdater updater(run.config, run.layout, run.weights);
  EXPECT_DOUBLE_EQ(updater.learning_rate(0), 0.25 / 5);
  EXPECT_DOUBLE_EQ(updater.learning_rate(4), 0.25);
  EXPECT_DOUBLE_EQ(updater.learning_rate(5), 0.25);
  const auto schedule = optim::lr_schedule(run.config);
  EXPECT_EQ(schedule.updates, 24);
  EXPECT_EQ(schedule.warmup, 5);
  EXPECT_EQ(schedule.final_factor, 0.1);
  for (std::int64_t batch = 0; batch < 24; ++batch) {
    EXPECT_EQ(updater.learning_rate(batch), 0.25 * schedule.factor(batch)) << batch;
  }
}

}  // namespace
}  // namespace penstock::engine
