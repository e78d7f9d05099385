#pragma once
// Small runs of the real engine and of its definition, a plain loop.

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "config/config.h"
#include "engine/events.h"
#include "engine/micro_batch_source.h"

namespace penstock::tests {

/// A model of about 20,000 parameters; `overrides` as for --set.
config::Config small_config(const std::vector<std::string>& overrides);

struct RunResult {
  std::vector<double> losses;  // of every update
  std::vector<double> norms;   // gradient norms before clipping
  std::vector<engine::EvaluationEvent> evaluations;
  std::map<std::string, at::Tensor> weights;  // the newest, by name

  std::string hash() const;
};

/// Random tokens as a pure function of the position. `distinct_batches` > 0 repeats the first ones.
engine::SourceFactory random_tokens(const config::Config& config,
                                    std::int64_t distinct_batches = 0);

RunResult run_engine(const config::Config& config, const engine::SourceFactory& source,
                     std::int64_t validation_micro_batches = 0);
RunResult run_engine(const config::Config& config);

/// The definition, without schedule, stages, slots or threads: batch b reads W(max(b - delay, 0));
/// its gradient, clipped by the norm over all parameters, makes W(b+1) from W(b).
RunResult run_plain_loop(const config::Config& config, std::int64_t delay);

/// The same where stages update on their own and read different versions: the forward and the
/// backward of micro-batch i, counted over the run, on stage s of d = pipeline.stages read the
/// versions that the rule gives. No clipping; losses only.
struct VersionRule {
  std::function<std::int64_t(int stage, std::int64_t i)> forward;
  std::function<std::int64_t(int stage, std::int64_t i)> backward;
};
RunResult run_loop_by_stage(const config::Config& config, const VersionRule& rule);

}  // namespace penstock::tests
