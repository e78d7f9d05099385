// The activation bytes that plans assume, against what the units' forwards really keep.

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <c10/core/GradMode.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <memory>

#include "model/layout.h"
#include "model/stage_model.h"
#include "model/views.h"
#include "plan/memory_model.h"
#include "plan/workload.h"

namespace penstock::plan {
namespace {

/// Sums what this thread allocates, less what it frees, while it is installed.
class Meter final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    bytes_ += size;
  }
  bool memoryProfilingEnabled() const override { return true; }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::int64_t bytes_ = 0;
};

struct Kept {
  double after_forward = 0;  // bytes per token, the unit's input included
  double after_input_gradient = 0;
};

constexpr std::int64_t sequences = 2;

config::ModelConfig example_model() {
  config::ModelConfig model;
  model.layers = 1;
  model.width = 64;
  model.heads = 4;
  model.kv_heads = 2;
  model.ff = 160;
  model.vocab = 300;
  model.seq = 32;
  return model;
}

Kept measure(const config::ModelConfig& model, std::int64_t unit, at::ScalarType type) {
  c10::GradMode::set_enabled(false);
  const auto chain = model::units(model);
  const auto layout = model::layout(chain, {unit, unit + 1}, false);
  const model::StageModel stage(model, chain, {unit, unit + 1});
  const at::Tensor flat = at::randn({layout.weight_count}).to(type);
  const at::Tensor flat_gradients = at::zeros({layout.gradient_count});
  const auto weights = model::weight_views(layout, flat);
  const auto gradients = model::gradient_views(layout, flat_gradients);
  const std::int64_t tokens = sequences * model.seq;
  model::MicroBatch batch;
  batch.inputs = at::zeros({tokens}, at::kLong);
  batch.targets = at::zeros({tokens}, at::kLong);
  batch.sequences = sequences;
  const at::Tensor dy = at::randn({tokens, model.width}).to(type);
  at::Tensor source = at::randn({tokens, model.width}).to(type);
  model::StageModel::Tape tape;
  model::StageModel::WeightBackward later;

  const auto meter = std::make_shared<Meter>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
  at::Tensor x = source.clone();
  at::Tensor dy_copy = dy.clone();
  const auto own_dy = static_cast<double>(meter->bytes()) / 2;
  at::Tensor y = stage.forward(x, batch, weights, &tape);
  y.reset();
  x.reset();
  Kept kept;
  kept.after_forward = (static_cast<double>(meter->bytes()) - own_dy) / static_cast<double>(tokens);
  at::Tensor dx = stage.backward_input(dy_copy, batch, weights, tape, gradients, later);
  dx.reset();
  dy_copy.reset();
  tape.clear();
  kept.after_input_gradient = static_cast<double>(meter->bytes()) / static_cast<double>(tokens);
  return kept;
}

class SavedBytes : public testing::TestWithParam<config::Precision> {};

TEST_P(SavedBytes, AreWhatForwardAndInputGradientKeep) {
  Workload workload;
  workload.model = example_model();
  workload.precision = GetParam();
  workload = make_workload(workload);
  const auto type = GetParam() == config::Precision::bf16 ? at::kBFloat16 : at::kFloat;
  for (const std::int64_t unit : {1, 2, 3}) {
    const Kept kept = measure(workload.model, unit, type);
    const double saved = workload.units[static_cast<std::size_t>(unit)].saved;
    // Allocations are exact; the closures and scalars between them are not tensors.
    EXPECT_NEAR(kept.after_forward, saved, 1) << "unit " << unit;
    EXPECT_LE(kept.after_input_gradient, saved + 1) << "unit " << unit;
    EXPECT_GE(kept.after_input_gradient, 0.6 * saved) << "unit " << unit;
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, SavedBytes,
                         testing::Values(config::Precision::fp32, config::Precision::bf16),
                         [](const auto& test) {
                           return test.param == config::Precision::bf16 ? "bf16" : "fp32";
                         });

}  // namespace
}  // namespace penstock::plan
