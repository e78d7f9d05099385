#include "engine/update_sweep.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/vectorize.h"
#include "kernels/rows.h"

namespace penstock::engine {
namespace {

using kernels::rows::Bf16Bits;

// So many elements pass through the caches at a time: ten columns of them fit into 48 KiB.
constexpr std::int64_t block_size = 1024;
// A thread takes at least so many blocks.
constexpr std::int64_t grain = 16;

using Block = std::array<float, block_size>;

PENSTOCK_VECTORIZE
void scaled(const float* in, float scale, float* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = in[i] * scale;
}

PENSTOCK_VECTORIZE
void add_multiple(const float* in, float factor, float* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] += in[i] * factor;
}

/// `newest` and `next` may be the same.
PENSTOCK_VECTORIZE
void move(const float* newest, float keep, const float* step, float* next, std::int64_t n) {
  PENSTOCK_INDEPENDENT_ITERATIONS
  for (std::int64_t i = 0; i < n; ++i) next[i] = newest[i] * keep - step[i];
}

/// A tensor's elements as floats: in place, or by way of a block.
class Column {
 public:
  explicit Column(const at::Tensor& tensor) {
    if (tensor.scalar_type() == at::kBFloat16) {
      bits_ = static_cast<Bf16Bits*>(tensor.mutable_data_ptr());
    } else {
      floats_ = tensor.mutable_data_ptr<float>();
    }
  }

  float* load(std::int64_t begin, std::int64_t n, Block& block) const {
    if (floats_ != nullptr) return floats_ + begin;
    kernels::rows::to_float(bits_ + begin, block.data(), n);
    return block.data();
  }
  /// What was changed in `block` goes back.
  void store(std::int64_t begin, std::int64_t n, const Block& block) const {
    if (bits_ != nullptr) kernels::rows::to_bf16(block.data(), bits_ + begin, n);
  }

 private:
  float* floats_ = nullptr;
  Bf16Bits* bits_ = nullptr;
};

/// A rule with the columns of its states.
class RuleRunner {
 public:
  explicit RuleRunner(const kernels::Sweep* sweep) : sweep_(sweep) {
    if (sweep == nullptr) return;
    for (const at::Tensor& state : sweep->states) states_.emplace_back(state);
  }
  explicit operator bool() const { return sweep_ != nullptr; }
  std::size_t states() const { return states_.size(); }

  void run(const float* const* inputs, float* out, std::int64_t begin, std::int64_t n,
           std::vector<Block>& blocks) const {
    std::array<float*, kernels::most_states> columns{};
    for (std::size_t s = 0; s < states_.size(); ++s) {
      columns.at(s) = states_[s].load(begin, n, blocks[s]);
    }
    sweep_->rule->run(inputs, columns.data(), out, n);
    for (std::size_t s = 0; s < states_.size(); ++s) states_[s].store(begin, n, blocks[s]);
  }

 private:
  const kernels::Sweep* sweep_;
  std::vector<Column> states_;
};

class Runner {
 public:
  explicit Runner(const UpdateSweep& sweep)
      : sweep_(sweep),
        source_(sweep.gradient != nullptr ? sweep.gradient->values : sweep.u),
        seen_(seen(sweep)),
        newest_(sweep.weights->newest),
        next_(sweep.weights->next),
        gradient_rule_(sweep.gradient_rule),
        update_rule_(sweep.update_rule),
        step_rule_(sweep.step_rule) {
    const at::Tensor& compute = sweep.weights->compute;
    if (compute.defined()) compute_ = static_cast<Bf16Bits*>(compute.mutable_data_ptr());
  }

  /// Elements [begin, end).
  void run(std::int64_t begin, std::int64_t end) const {
    Scratch scratch;
    scratch.states.resize(
        std::max({gradient_rule_.states(), update_rule_.states(), step_rule_.states()}));
    for (; begin < end; begin += block_size)
      block(begin, std::min(block_size, end - begin), scratch);
  }

 private:
  struct Scratch {
    Block seen, gradient, corrected, update, step;
    std::vector<Block> states;
  };

  static Column seen(const UpdateSweep& sweep) {
    const bool given = sweep.gradient != nullptr && sweep.gradient->seen.defined();
    return Column(given ? sweep.gradient->seen : sweep.weights->newest);
  }

  void block(std::int64_t begin, std::int64_t n, Scratch& scratch) const {
    const float* newest = newest_.load(begin, n, scratch.step);
    const float* u = sweep_.gradient != nullptr ? update(begin, n, newest, scratch)
                                                : source_.load(begin, n, scratch.update);
    if (sweep_.watch_update) sweep_.watch_update(begin, u, n);
    const float* step = u;
    if (step_rule_) {
      step_rule_.run(&u, scratch.step.data(), begin, n, scratch.states);
      step = scratch.step.data();
    }
    float* next = next_.load(begin, n, scratch.seen);
    move(newest, static_cast<float>(sweep_.keep), step, next, n);
    if (compute_ != nullptr) kernels::rows::to_bf16(next, compute_ + begin, n);
  }

  const float* update(std::int64_t begin, std::int64_t n, const float* newest,
                      Scratch& scratch) const {
    scaled(source_.load(begin, n, scratch.update), static_cast<float>(sweep_.gradient->scale),
           scratch.gradient.data(), n);
    float* gradient = scratch.gradient.data();
    if (gradient_rule_) {
      const std::array<const float*, 3> inputs{gradient, newest,
                                               seen_.load(begin, n, scratch.seen)};
      gradient_rule_.run(inputs.data(), scratch.corrected.data(), begin, n, scratch.states);
      gradient = scratch.corrected.data();
    }
    if (sweep_.coupled_decay != 0) {
      add_multiple(newest, static_cast<float>(sweep_.coupled_decay), gradient, n);
    }
    const float* input = gradient;
    update_rule_.run(&input, scratch.update.data(), begin, n, scratch.states);
    return scratch.update.data();
  }

  const UpdateSweep& sweep_;
  Column source_;
  Column seen_;
  Column newest_;
  Column next_;
  Bf16Bits* compute_ = nullptr;
  RuleRunner gradient_rule_;
  RuleRunner update_rule_;
  RuleRunner step_rule_;
};

}  // namespace

bool sweepable(const at::Tensor& tensor) {
  const bool has_type = tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kBFloat16;
  return tensor.is_cpu() && has_type && tensor.is_contiguous();
}

void run(const UpdateSweep& sweep) {
  const Runner runner(sweep);
  const std::int64_t count = sweep.weights->newest.numel();
  const std::int64_t blocks = (count + block_size - 1) / block_size;
  at::parallel_for(0, blocks, grain, [&](std::int64_t first, std::int64_t last) {
    runner.run(first * block_size, std::min(last * block_size, count));
  });
}

}  // namespace penstock::engine
