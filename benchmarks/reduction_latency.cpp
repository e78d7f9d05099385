// What a slow reduction over all stages costs per batch: under 2bw nothing, as long as it fits into
// the slack of m-d+1 forward/backward pairs; under 1f1b all of it.
//
// The stages do not compute, they sleep, so that a machine of few cores shows the schedule's own
// times: F 1 ms, B 2 ms, an update 0.2 ms; the reduction's exchange sleeps L. Beside each measured
// time stands what the simulator predicts for the same costs.
//
// From the root of the repository, after a build:
//   build/release/bin/reduction-latency-benchmark          # the table: about three minutes
//   build/release/bin/reduction-latency-benchmark --json   # one JSON object instead

#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "comm/reduction.h"
#include "engine/stage_threads.h"
#include "schedule/lowering.h"
#include "simulate/simulate.h"

namespace {

using namespace penstock;
using schedule::Action;
using Clock = std::chrono::steady_clock;

constexpr int stages = 4;
constexpr int micro_batches[] = {4, 5, 6, 8, 16};
constexpr double latencies[] = {0, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3};
constexpr std::int64_t batches = 16;
constexpr int rounds = 5;
constexpr double forward_seconds = 1e-3;
constexpr double backward_seconds = 2e-3;
constexpr double update_seconds = 0.2e-3;

void sleep(double seconds) {
  const auto begin = Clock::now();
  std::this_thread::sleep_until(
      begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
}

/// The system may wake a thread 50 us late unless it is told not to.
void wake_on_time() { prctl(PR_SET_TIMERSLACK, 1UL); }

struct Nothing {};

class SleepingStage final : public engine::Stage<Nothing> {
 public:
  explicit SleepingStage(comm::Reduction& reduction) : reduction_(reduction) {}

  void start() override { wake_on_time(); }
  Nothing forward(const Action&, Nothing) override { return slept(forward_seconds); }
  Nothing backward(const Action&, Nothing) override { return slept(backward_seconds); }
  Nothing backward_input(const Action&, Nothing) override { return slept(backward_seconds / 2); }
  void backward_weight(const Action&) override { sleep(backward_seconds / 2); }
  void contribute(const Action& action) override {
    reduction_.contribute(action.batch, {});
    contributed_.push_back(Clock::now());
  }
  void await_reduction(const Action& action) override { reduction_.wait(action.batch); }
  void update(const Action&) override { sleep(update_seconds); }
  Nothing evaluate(const Action&, Nothing) override { return {}; }
  void capture(const Action&) override {}
  void in_transit(const Action&, const Action&, const Nothing&) override {}

  /// Seconds between the ends of two batches on this stage.
  double seconds_between(std::int64_t first, std::int64_t last) const {
    return std::chrono::duration<double>(contributed_.at(static_cast<std::size_t>(last)) -
                                         contributed_.at(static_cast<std::size_t>(first)))
        .count();
  }

 private:
  static Nothing slept(double seconds) {
    sleep(seconds);
    return {};
  }

  comm::Reduction& reduction_;
  std::vector<Clock::time_point> contributed_;  // by batch
};

struct Case {
  std::string schedule;
  int micro_batches = 0;
  double latency = 0;    // seconds, as all below
  double measured = 0;   // per batch
  double predicted = 0;  // likewise
  double slack = 0;      // predicted for a latency of 0; negative where stages wait anyway
};

schedule::PipelineShape shape_of(const Case& of) { return {stages, of.micro_batches, 1}; }

simulate::Result simulated(const Case& of, double latency) {
  simulate::ChunkCosts one;
  one.forward = forward_seconds;
  one.backward = backward_seconds;
  simulate::Costs costs = simulate::uniform(shape_of(of), one, update_seconds);
  costs.reduction = latency;
  return simulate::simulate({.schedule = &schedule::find(of.schedule),
                             .shape = shape_of(of),
                             .batches = batches,
                             .costs = &costs});
}

/// Seconds per batch in the window that the simulator looks at.
double run(const Case& of, const simulate::Result& window) {
  const auto& schedule = schedule::find(of.schedule);
  const auto shape = shape_of(of);
  comm::Reduction reduction({.stages = stages,
                             .parameters = 1,
                             .overlap = schedule.reductions(shape),
                             .exchange = [&](std::int64_t, comm::MergedShares&) {
                               wake_on_time();
                               sleep(of.latency);
                             }});
  std::deque<SleepingStage> sleeping;
  engine::Edges<Nothing> edges(shape, schedule.placement);
  std::deque<engine::StageMonitor> monitors(stages);
  engine::StageThreads<Nothing> threads;
  for (int s = 0; s < stages; ++s) {
    threads.stages.push_back(&sleeping.emplace_back(reduction));
    schedule::StreamPlan plan;
    plan.has_batch = [](std::int64_t batch) { return batch < batches; };
    threads.streams.push_back(schedule::stage_stream(schedule, s, shape, std::move(plan)));
  }
  threads.edges = &edges;
  threads.start = Clock::now();
  threads.monitors = &monitors;
  threads.close = [&] { reduction.close(); };
  engine::run_stage_threads(std::move(threads));
  double seconds = 0;
  for (const auto& stage : sleeping) {
    seconds += stage.seconds_between(window.window_first, window.window_last) / stages;
  }
  return seconds / static_cast<double>(window.window_last - window.window_first);
}

void measure(Case& of) {
  const auto prediction = simulated(of, of.latency);
  of.predicted = prediction.step_time;
  of.slack = simulated(of, 0).slack.value_or(0);
  of.measured = 1e300;
  for (int round = 0; round < rounds; ++round) {
    of.measured = std::min(of.measured, run(of, prediction));
  }
}

std::vector<Case> measured_cases() {
  std::vector<Case> cases;
  for (const char* schedule : {"1f1b", "2bw"}) {
    for (const int m : micro_batches) {
      for (const double latency : latencies) {
        cases.push_back({.schedule = schedule, .micro_batches = m, .latency = latency});
        measure(cases.back());
      }
    }
  }
  return cases;
}

void print(const std::vector<Case>& cases) {
  fmt::print("Milliseconds per batch, measured (predicted); {} stages, best of {}.\n", stages,
             rounds);
  fmt::print("{:<9}{:>3} {:>7}", "schedule", "m", "slack");
  for (const double latency : latencies) {
    fmt::print(" {:>13}", fmt::format("L = {:.0f} ms", 1e3 * latency));
  }
  for (const Case& of : cases) {
    if (of.latency == latencies[0]) {
      const auto slack = of.slack > 0 ? fmt::format("{:.1f}", 1e3 * of.slack) : "none";
      fmt::print("\n{:<9}{:>3} {:>7}", of.schedule, of.micro_batches, slack);
    }
    fmt::print(" {:>13}", fmt::format("{:.1f} ({:.1f})", 1e3 * of.measured, 1e3 * of.predicted));
  }
  fmt::print("\n");
}

void print_json(const std::vector<Case>& cases) {
  auto list = nlohmann::json::array();
  for (const Case& of : cases) {
    list.push_back({{"schedule", of.schedule},
                    {"micro_batches", of.micro_batches},
                    {"reduction_seconds", of.latency},
                    {"slack_seconds", of.slack},
                    {"measured_seconds", of.measured},
                    {"predicted_seconds", of.predicted}});
  }
  const nlohmann::json result{{"stages", stages},
                              {"forward_seconds", forward_seconds},
                              {"backward_seconds", backward_seconds},
                              {"update_seconds", update_seconds},
                              {"cases", list}};
  fmt::print("{}\n", result.dump());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const bool json = argc == 2 && std::string_view(argv[1]) == "--json";
    if (argc > 1 && !json) {
      fmt::print(stderr, "usage: reduction-latency-benchmark [--json]\n");
      return 2;
    }
    const auto cases = measured_cases();
    json ? print_json(cases) : print(cases);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
