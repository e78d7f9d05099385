#include "optim/state_size.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "optim/registry.h"

namespace penstock::optim {
namespace {

/// "1.50 GiB"
std::string size_text(std::int64_t bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto size = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (size >= 1024 && unit + 1 < std::size(units)) {
    size /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", size, units[unit]);
}

/// "soap 12.00 GiB, adamw 1.00 GiB"
std::string shares_text(const std::vector<ParameterState>& states) {
  std::map<std::string, std::int64_t> sums;
  for (const ParameterState& state : states) sums[state.optimizer] += state.bytes;
  std::vector<std::pair<std::string, std::int64_t>> shares(sums.begin(), sums.end());
  std::ranges::stable_sort(shares,
                           [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (const auto& [optimizer, bytes] : shares) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", optimizer, size_text(bytes));
  }
  return text;
}

}  // namespace

std::int64_t bytes(const State& state) {
  auto sum = static_cast<std::int64_t>(state.numbers.size() * sizeof(double));
  for (const auto& [name, tensor] : state.tensors) {
    sum += static_cast<std::int64_t>(tensor.nbytes());
  }
  return sum;
}

std::int64_t state_bytes(const StateMaker& init, const std::vector<std::int64_t>& shape) {
  return bytes(init(at::empty(shape, at::TensorOptions(at::kMeta).dtype(at::kFloat))));
}

std::int64_t state_bytes(const Optimizer& optimizer, const std::vector<std::int64_t>& shape) {
  return state_bytes([&](const at::Tensor& weight) { return optimizer.init(weight); }, shape);
}

std::vector<ParameterState> state_of(const config::Config& config,
                                     const std::vector<ParameterInfo>& parameters,
                                     const std::vector<Route>& routes) {
  if (routes.size() != parameters.size()) throw std::logic_error("a route for every parameter");
  // Layers are alike: each shape is asked for once.
  std::map<std::pair<const config::ComponentConfig*, std::vector<std::int64_t>>, std::int64_t>
      known;
  std::vector<ParameterState> states;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const config::ComponentConfig& component = optimizer_of(config, routes[i]);
    const auto [place, is_new] = known.try_emplace({&component, parameters[i].shape}, 0);
    if (is_new) place->second = state_bytes(*make(component), parameters[i].shape);
    states.push_back({parameters[i].name, component.name, parameters[i].shape, place->second});
  }
  return states;
}

void require_state_fits(const std::vector<ParameterState>& states, std::int64_t other,
                        std::int64_t memory) {
  std::int64_t sum = 0;
  for (const ParameterState& state : states) sum += state.bytes;
  if (sum + other <= memory || states.empty()) return;
  const auto largest = std::ranges::max_element(states, {}, &ParameterState::bytes);
  throw user_error("config",
                   "the optimizers' state takes {} ({}; most of it '{}' of shape {}: {}) and "
                   "everything else of a run at least {}, but there are {} of memory; route large "
                   "matrices to an optimizer with less state by [[optimizer.group]] (penstock "
                   "optimizers lists what each takes), or use a smaller model",
                   size_text(sum), shares_text(states), largest->name, shape_text(largest->shape),
                   size_text(largest->bytes), size_text(other), size_text(memory));
}

}  // namespace penstock::optim
