#pragma once
// Everything that a stage needs to go on from a cut as if it had never stopped.

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace penstock::engine {

/// A cut at t: every stage right after its update that writes W(t); nothing is drained for it.
/// All of a stage's state is in named tensors, single numbers included, so that a checkpoint is one
/// safetensors file per stage. The tensors are copies in main memory: nothing writes them any more.
struct StageState {
  int stage = 0;
  std::int64_t cut = 0;
  std::map<std::string, at::Tensor> tensors;

  void add(const std::string& name, const at::Tensor& tensor);
  void add(const std::string& name, const std::vector<float>& values);
  void add_integer(const std::string& name, std::int64_t value);
  void add_real(const std::string& name, double value);

  /// Errors of all readers: std::runtime_error naming what is missing.
  const at::Tensor& tensor(const std::string& name) const;
  std::vector<float> floats(const std::string& name) const;
  std::int64_t integer(const std::string& name) const;
  double real(const std::string& name) const;

  /// What stands behind `prefix` in the names that begin with it, up to the next dot; each once.
  std::vector<std::string> parts_behind(const std::string& prefix) const;
};

/// Copies the stored tensor into `target`, which must have the same shape.
void restore_into(const at::Tensor& target, const StageState& state, const std::string& name);

}  // namespace penstock::engine
