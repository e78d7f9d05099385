#include "engine/change_sample.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace penstock::engine {
namespace {

constexpr std::int64_t runs = 64;
constexpr std::int64_t run_length = 64;

double squared_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return sum;
}

double squared_norm(const std::vector<float>& a) {
  double sum = 0;
  for (const float x : a) sum += static_cast<double>(x) * static_cast<double>(x);
  return sum;
}

}  // namespace

std::int64_t ChangeSample::size() const { return std::min(count_, runs * run_length); }

/// From the beginning of one run to that of the next; runs of a small parameter are adjacent.
std::int64_t ChangeSample::distance() const {
  return count_ <= runs * run_length ? run_length : (count_ - run_length) / (runs - 1);
}

std::vector<float> ChangeSample::sample(const at::Tensor& tensor) const {
  const at::Tensor flat = tensor.to(at::kFloat).contiguous().view({-1});
  const at::Tensor taken =
      size() == count_ ? flat.cpu()
                       : flat.as_strided({runs, run_length}, {distance(), 1}, flat.storage_offset())
                             .contiguous()
                             .cpu();
  const float* values = taken.const_data_ptr<float>();
  return {values, values + size()};
}

void ChangeSample::before(const at::Tensor& weight) {
  weight_ = sample(weight);
  update_.resize(weight_.size());
}

void ChangeSample::watch_update(const at::Tensor& update) { update_ = sample(update); }

void ChangeSample::watch_update(std::int64_t begin, const float* update, std::int64_t n) {
  const std::int64_t end = begin + n;
  for (std::int64_t r = begin / distance(); r * distance() < end; ++r) {
    const std::int64_t first = std::max(begin, r * distance());
    const std::int64_t last = std::min({end, r * distance() + run_length, count_});
    if (r * run_length >= size() || first >= last) continue;
    std::copy(update + (first - begin), update + (last - begin),
              update_.begin() + r * run_length + (first - r * distance()));
  }
}

GroupChange ChangeSample::after(const at::Tensor& weight) {
  GroupChange change;
  const bool has_previous = previous_update_.size() == update_.size();
  const double scale = static_cast<double>(count_) / static_cast<double>(update_.size());
  change.update = scale * squared_norm(update_);
  change.update_change = has_previous ? scale * squared_difference(update_, previous_update_)
                                      : std::numeric_limits<double>::quiet_NaN();
  change.step = scale * squared_difference(sample(weight), weight_);
  change.weight = scale * squared_norm(weight_);
  previous_update_ = std::exchange(update_, {});
  return change;
}

}  // namespace penstock::engine
