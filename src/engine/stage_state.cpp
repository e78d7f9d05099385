#include "engine/stage_state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>

namespace penstock::engine {

void StageState::add(const std::string& name, const at::Tensor& tensor) {
  tensors[name] = tensor.detach().to(at::kCPU, tensor.scalar_type(), /*non_blocking=*/false,
                                     /*copy=*/true, at::MemoryFormat::Contiguous);
}

void StageState::add(const std::string& name, const std::vector<float>& values) {
  at::Tensor copy = at::empty({static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), copy.mutable_data_ptr<float>());
  tensors[name] = std::move(copy);
}

void StageState::add_integer(const std::string& name, std::int64_t value) {
  tensors[name] = at::full({1}, value, at::kLong);
}

void StageState::add_real(const std::string& name, double value) {
  tensors[name] = at::full({1}, value, at::kDouble);
}

const at::Tensor& StageState::tensor(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    throw std::runtime_error(fmt::format("the saved state of stage {} lacks '{}'", stage, name));
  }
  return found->second;
}

std::vector<float> StageState::floats(const std::string& name) const {
  const at::Tensor& stored = tensor(name);
  const float* values = stored.const_data_ptr<float>();
  return {values, values + stored.numel()};
}

std::int64_t StageState::integer(const std::string& name) const {
  return tensor(name).item<std::int64_t>();
}

double StageState::real(const std::string& name) const { return tensor(name).item<double>(); }

std::vector<std::string> StageState::parts_behind(const std::string& prefix) const {
  std::vector<std::string> parts;
  for (auto at = tensors.lower_bound(prefix); at != tensors.end(); ++at) {
    if (!at->first.starts_with(prefix)) break;
    std::string part = at->first.substr(prefix.size());
    part = part.substr(0, part.find('.'));
    if (parts.empty() || parts.back() != part) parts.push_back(std::move(part));
  }
  return parts;
}

void restore_into(const at::Tensor& target, const StageState& state, const std::string& name) {
  const at::Tensor& stored = state.tensor(name);
  if (stored.sizes() != target.sizes()) {
    throw std::runtime_error(fmt::format(
        "'{}' in the saved state of stage {} has shape [{}] instead of [{}]", name, state.stage,
        fmt::join(stored.sizes().vec(), ", "), fmt::join(target.sizes().vec(), ", ")));
  }
  target.copy_(stored);
}

}  // namespace penstock::engine
