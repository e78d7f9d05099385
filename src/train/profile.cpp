#include "train/profile.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "engine/stage_updater.h"
#include "model/initialize.h"
#include "model/stage_model.h"
#include "model/views.h"

namespace penstock::train {
namespace {

using model::UnitKind;

constexpr std::size_t fewest_passes = 3;

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// One unit of the model as a stage of its own.
class UnitBench {
 public:
  UnitBench(const config::Config& config, const std::vector<model::Unit>& chain, std::int64_t unit,
            std::int64_t sequences)
      : config_(config),
        kind_(chain[static_cast<std::size_t>(unit)].kind),
        layout_(model::layout(chain, {unit, unit + 1}, config.model.tied)),
        model_(config.model, chain, {unit, unit + 1}),
        master_(at::zeros({layout_.weight_count})),
        flat_gradients_(at::zeros({layout_.gradient_count})),
        gradients_(model::gradient_views(layout_, flat_gradients_)) {
    model::initialize_weights(layout_, config.model, 0, master_);
    const bool bf16 = config.train.precision == config::Precision::bf16;
    const at::Tensor compute = bf16 ? master_.to(at::kBFloat16) : master_;
    weights_ = model::weight_views(layout_, compute);
    const std::int64_t tokens = sequences * config.model.seq;
    batch_.inputs = at::randint(config.model.vocab, {tokens}, at::kLong);
    batch_.targets = at::randint(config.model.vocab, {tokens}, at::kLong);
    batch_.sequences = sequences;
    batch_.gradient_scale = 1.0 / static_cast<double>(tokens);
    stream_ = at::randn({tokens, config.model.width}).to(compute.scalar_type());
  }

  Profile::Pass pass(double budget) {
    std::vector<double> forward;
    std::vector<double> backward;
    double spent = 0;
    run(nullptr, nullptr);
    while (spent < budget || forward.size() < fewest_passes) {
      run(&forward, &backward);
      spent += forward.back() + backward.back();
    }
    const auto tokens = static_cast<double>(batch_.inputs.numel());
    return {median(forward) / tokens, median(backward) / tokens};
  }

  /// Seconds of one update per parameter.
  double update(double budget) {
    engine::StageUpdater updater(config_, layout_, master_);
    flat_gradients_.fill_(1e-3);
    std::int64_t batch = 0;
    const std::int64_t last = std::max<std::int64_t>(config_.updates(), 1);
    const auto once = [&] { updater.apply(batch++ % last, {flat_gradients_}, {master_, master_}); };
    once();
    std::vector<double> times;
    double spent = 0;
    // Some optimizers do more in every tenth update: whole tens, and their mean.
    while (spent < budget || times.size() < fewest_passes || times.size() % 10 != 0) {
      times.push_back(seconds_of(once));
      spent += times.back();
    }
    return spent / static_cast<double>(times.size()) / static_cast<double>(layout_.weight_count);
  }

 private:
  void run(std::vector<double>* forward, std::vector<double>* backward) {
    model::StageModel::Tape tape;
    const double f = seconds_of([&] {
      (void)model_.forward(kind_ == UnitKind::embedding ? at::Tensor() : stream_, batch_, weights_,
                           &tape);
    });
    const double b =
        seconds_of([&] { (void)model_.backward(stream_, batch_, weights_, tape, gradients_); });
    if (forward != nullptr) forward->push_back(f);
    if (backward != nullptr) backward->push_back(b);
  }

  const config::Config& config_;
  const UnitKind kind_;
  const model::Layout layout_;
  const model::StageModel model_;
  at::Tensor master_;
  at::Tensor flat_gradients_;
  model::StageTensors gradients_;
  model::StageTensors weights_;
  model::MicroBatch batch_;
  at::Tensor stream_;
};

}  // namespace

Profile profile(const config::Config& config, const ProfileOptions& options) {
  c10::GradMode::set_enabled(false);
  at::set_num_threads(options.threads);
  const auto chain = model::units(config.model);
  const auto last = static_cast<std::int64_t>(chain.size()) - 1;
  Profile times;
  for (const std::int64_t unit : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, last}) {
    UnitBench bench(config, chain, unit, options.sequences);
    const UnitKind kind = chain[static_cast<std::size_t>(unit)].kind;
    times.of(kind) = bench.pass(options.seconds);
    if (kind == UnitKind::mlp) times.matrix_update = bench.update(options.seconds);
    if (kind == UnitKind::embedding) times.other_update = bench.update(options.seconds);
  }
  return times;
}

}  // namespace penstock::train
