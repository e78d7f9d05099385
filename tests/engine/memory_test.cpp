// The tensors of a whole run against what the plan predicts for its stages.

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "engine/pinning.h"
#include "plan/predicted_memory.h"
#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::run_engine;
using tests::small_config;

/// LibTorch's bytes of all threads that it is installed on, and the most there were. A tensor may
/// be freed by another thread than the one that made it.
class Meter final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    const std::int64_t now = bytes_.fetch_add(size) + size;
    std::int64_t most = peak_.load();
    while (most < now && !peak_.compare_exchange_weak(most, now)) {
    }
  }
  bool memoryProfilingEnabled() const override { return true; }
  std::int64_t peak() const { return peak_; }

 private:
  std::atomic<std::int64_t> bytes_ = 0;
  std::atomic<std::int64_t> peak_ = 0;
};

double measured_peak(const config::Config& config) {
  const auto meter = std::make_shared<Meter>();
  const c10::DebugInfoGuard here(c10::DebugInfoKind::PROFILER_STATE, meter);
  run_engine(config, {.before_action = [&](int, const schedule::Action&) {
               thread_local std::optional<c10::DebugInfoGuard> guard;
               if (!guard) guard.emplace(c10::DebugInfoKind::PROFILER_STATE, meter);
             }});
  return static_cast<double>(meter->peak());
}

/// Of all stages together on these cores: no more than `cores` of them work at a time.
double predicted_peak(const config::Config& config, std::size_t cores) {
  double bytes = 0;
  std::vector<double> working;
  for (int s = 0; s < config.pipeline.stages; ++s) {
    const auto use = plan::predicted_memory(config, s);
    bytes += use.total() - use.working;
    working.push_back(use.working);
  }
  std::ranges::sort(working, std::greater());
  for (std::size_t i = 0; i < std::min(cores, working.size()); ++i) bytes += working[i];
  return bytes;
}

/// Stages need not reach their own peaks, which are predicted, at the same moment: the most of
/// several runs.
double highest_peak(const config::Config& config, double enough) {
  double peak = 0;
  for (int run = 0; run < 15 && peak < enough; ++run) peak = std::max(peak, measured_peak(config));
  return peak;
}

config::Config config_with(const std::vector<std::string>& more) {
  std::vector<std::string> overrides{
      "model.layers=4",        "model.width=64", "model.ff=160",
      "model.heads=4",         "model.seq=128",  "model.vocab=300",
      "train.steps=5",         "train.warmup=2", "pipeline.micro_batches=8",
      "pipeline.micro_batch=4"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  return small_config(overrides);
}

TEST(Memory, PeakIsAsPredicted) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "instrumented stages are too far apart to reach their peaks together";
#endif
  for (const char* const schedule : {"2bw", "1f1b", "gpipe"}) {
    for (const auto& [stages, recompute] :
         std::vector<std::pair<std::string, std::string>>{{"1", "none"},
                                                          {"1", "block"},
                                                          {"1", "stage"},
                                                          {"2", "none"},
                                                          {"2", "block"},
                                                          {"2", "stage"},
                                                          {"4", "none"}}) {
      SCOPED_TRACE(testing::Message() << schedule << " d=" << stages << " " << recompute);
      const auto c = config_with({std::string("pipeline.schedule=") + schedule,
                                  "pipeline.stages=" + stages, "pipeline.recompute=" + recompute});
      const double predicted = predicted_peak(c, usable_cores().size());
      EXPECT_NEAR(highest_peak(c, 0.9 * predicted) / predicted, 1, 0.1);
    }
  }
}

TEST(Memory, OfManyStagesIsNotMoreThanPredicted) {
  // What is computed again exists on few stages at a time, and few channels are full.
  for (const char* const recompute : {"block", "stage"}) {
    const auto c =
        config_with({"pipeline.stages=4", std::string("pipeline.recompute=") + recompute});
    EXPECT_LT(measured_peak(c), 1.1 * predicted_peak(c, usable_cores().size()));
  }
}

TEST(Memory, RecomputationSavesMemoryAndChangesNoBit) {
  for (const char* const schedule : {"2bw", "gpipe", "zb-h1"}) {
    SCOPED_TRACE(schedule);
    const auto with = [&](const std::string& recompute) {
      return config_with({std::string("pipeline.schedule=") + schedule, "pipeline.stages=2",
                          "pipeline.recompute=" + recompute});
    };
    const auto none = run_engine(with("none")).hash();
    EXPECT_EQ(run_engine(with("block")).hash(), none);
    EXPECT_EQ(run_engine(with("stage")).hash(), none);
    const double all = measured_peak(with("none"));
    EXPECT_LT(measured_peak(with("block")), 0.9 * all);
    EXPECT_LT(measured_peak(with("stage")), 0.9 * all);
  }
}

}  // namespace
}  // namespace penstock::engine
