#pragma once
// Measures how much one parameter's updates change, from a sample of its elements.

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "engine/group_change.h"

namespace penstock::engine {

/// The sample is 64 runs of 64 elements, evenly spread, or all elements where there are no more.
/// It costs no memory to speak of and stays on in every run. Used by one thread.
class ChangeSample {
 public:
  explicit ChangeSample(const at::Tensor& weight) : count_(weight.numel()) {}

  /// W_t of the update that is being made.
  void before(const at::Tensor& weight);
  /// u_t: in full, or its elements [begin, begin + n) in parts that may come from several threads.
  void watch_update(const at::Tensor& update);
  void watch_update(std::int64_t begin, const float* update, std::int64_t n);
  /// W_{t+1}. Returns what has changed since before(), and u_{t-1}.
  GroupChange after(const at::Tensor& weight);

  /// The sample of u_{t-1}, for checkpoints; empty before the first update.
  const std::vector<float>& previous_update() const { return previous_update_; }
  void set_previous_update(std::vector<float> sample) { previous_update_ = std::move(sample); }

 private:
  std::vector<float> sample(const at::Tensor& tensor) const;
  std::int64_t size() const;
  std::int64_t distance() const;

  std::int64_t count_;
  std::vector<float> update_;
  std::vector<float> weight_;
  std::vector<float> previous_update_;
};

}  // namespace penstock::engine
