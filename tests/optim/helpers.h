#pragma once
// Optimizers and corrections from their registries, and the golden trajectories.

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "config/config.h"
#include "delay/registry.h"
#include "engine/parameter_updater.h"
#include "optim/registry.h"

namespace penstock::tests {

using Options = std::map<std::string, config::Value>;

/// The configuration's form of the component: every option's default, some changed.
template <class Entries>
config::ComponentConfig component(const Entries& entries, const std::string& name,
                                  const Options& changed) {
  for (const auto& entry : entries) {
    if (entry.spec.name != name) continue;
    config::ComponentConfig result{name, {}};
    for (const auto& option : entry.spec.options) {
      result.options[option.key] = option.default_value.value();
    }
    for (const auto& [key, value] : changed) result.options.at(key) = value;
    return result;
  }
  throw std::logic_error("no component is called " + name);
}

inline optim::OptimizerPtr optimizer(const std::string& name, const Options& changed = {}) {
  return optim::make(component(optim::registry(), name, changed));
}

inline delay::CorrectionPtr correction(const std::string& name, const Options& changed = {}) {
  return delay::make(component(delay::registry(), name, changed));
}

/// The given weights and gradients of tests/golden/optimizers.safetensors, and the results there
/// and in torch_optimizers.safetensors.
class GoldenUpdates {
 public:
  GoldenUpdates() {
    for (const char* file : {"optimizers.safetensors", "torch_optimizers.safetensors"}) {
      tensors_.merge(
          checkpoint::read_safetensors(std::filesystem::path(PENSTOCK_TEST_DATA) / "golden" / file)
              .tensors);
    }
  }

  at::Tensor operator[](const std::string& name) const { return tensors_.at(name); }

  /// The weights after each of the twelve updates through the engine's own path, [12, shape].
  at::Tensor run(const std::string& shape, const optim::Optimizer& optimizer,
                 double weight_decay) const {
    const auto none = correction("none");
    at::Tensor weight = tensors_.at(shape + ".weight").clone();
    engine::ParameterUpdater updater(optimizer, *none, weight_decay, weight);
    std::vector<at::Tensor> after;
    for (std::int64_t k = 0; k < updates(); ++k) {
      updater.apply({tensors_.at(shape + ".grads")[k]}, {.step = k + 1, .lr = lr(k)},
                    {weight, weight});
      after.push_back(weight.clone());
    }
    return at::stack(after);
  }

  std::int64_t updates() const { return tensors_.at("lr").size(0); }
  double lr(std::int64_t update) const { return tensors_.at("lr")[update].item<double>(); }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

/// The largest |a - b| / |b| over the updates, in the Euclidean norm.
inline double worst_error(const at::Tensor& actual, const at::Tensor& expected) {
  double worst = 0;
  for (std::int64_t k = 0; k < expected.size(0); ++k) {
    const at::Tensor reference = expected[k].to(at::kDouble);
    const at::Tensor error = actual[k].to(at::kDouble) - reference;
    worst = std::max(worst, (error.norm() / reference.norm()).item<double>());
  }
  return worst;
}

}  // namespace penstock::tests
