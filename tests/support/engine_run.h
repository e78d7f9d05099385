#pragma once
// Small runs of the real engine and of its definition, a plain loop.

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "comm/reduction.h"
#include "config/config.h"
#include "engine/events.h"
#include "engine/micro_batch_source.h"
#include "engine/stage_state.h"
#include "schedule/action.h"

namespace penstock::tests {

/// A model of about 20,000 parameters; `overrides` as for --set.
config::Config small_config(const std::vector<std::string>& overrides);

struct RunResult {
  std::vector<double> losses;         // of every update
  std::vector<double> norms;          // gradient norms before clipping
  std::vector<std::int64_t> skipped;  // batches
  std::vector<engine::EvaluationEvent> evaluations;
  std::vector<std::vector<engine::StageEvent>> stage_events;         // by stage
  std::map<std::int64_t, std::vector<engine::StageState>> captures;  // by cut, then by stage
  std::map<std::string, at::Tensor> weights;                         // the newest, by name

  std::string hash() const;
};

struct RunOptions {
  engine::SourceFactory source = nullptr;  // null: random_tokens()
  std::int64_t validation_micro_batches = 0;
  std::vector<engine::StageState> restore = {};
  std::function<void(int stage, const schedule::Action&)> before_action = nullptr;
  comm::Reduction::Exchange exchange = nullptr;
  std::int64_t stop_before = -1;  // request a stop when this batch is to be decided
};

/// Random tokens as a pure function of the position. `distinct_batches` > 0 repeats the first ones.
engine::SourceFactory random_tokens(const config::Config& config,
                                    std::int64_t distinct_batches = 0);

/// The same data, but what these micro-batches contribute to any gradient is a NaN.
using Place = std::pair<std::int64_t, std::int64_t>;  // batch, micro-batch
engine::SourceFactory poisoned(engine::SourceFactory source, std::set<Place> places);

RunResult run_engine(const config::Config& config, const engine::SourceFactory& source,
                     std::int64_t validation_micro_batches = 0);
RunResult run_engine(const config::Config& config, const RunOptions& options = {});

/// The definition, without schedule, stages, slots or threads: batch b reads W(max(b - delay, 0));
/// its gradient, clipped by the norm over all parameters, makes W(b+1) from W(b).
/// Where loss or norm is not finite, W(b+1) = W(b) instead.
RunResult run_plain_loop(const config::Config& config, std::int64_t delay,
                         const engine::SourceFactory& source = nullptr);
/// The same with any rule for the version that batch b reads.
RunResult run_plain_loop(const config::Config& config,
                         const std::function<std::int64_t(std::int64_t batch)>& version_read,
                         const engine::SourceFactory& source = nullptr);

/// The same where stages update on their own and read different versions: the forward and the
/// backward of micro-batch i, counted over the run, on stage s of d = pipeline.stages read the
/// versions that the rule gives. No clipping; losses only.
struct VersionRule {
  std::function<std::int64_t(int stage, std::int64_t i)> forward;
  std::function<std::int64_t(int stage, std::int64_t i)> backward;
};
RunResult run_loop_by_stage(const config::Config& config, const VersionRule& rule);

}  // namespace penstock::tests
