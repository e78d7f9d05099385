// How fast the simulator is: actions per second on one core, and the peak memory of the process.
//
// From the root of the repository, after a build:
//   build/release/bin/simulator-benchmark                # the table
//   build/release/bin/simulator-benchmark 2bw 8 64 1000  # schedule, stages, micro-batches, batches

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <exception>
#include <string>
#include <vector>

#include "simulate/simulate.h"

namespace {

using namespace penstock;

struct Case {
  std::string schedule;
  int stages;
  int micro_batches;
  std::int64_t batches;
  double jitter = 0;
};

double peak_mebibytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;  // kibibytes on Linux
}

/// Of this process: what other programs do does not count.
double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void measure(const Case& of) {
  const schedule::Schedule& schedule = schedule::find(of.schedule);
  const schedule::PipelineShape shape{of.stages, of.micro_batches, schedule.default_chunks};
  simulate::ChunkCosts one;
  one.forward = 1;
  one.backward = 2;
  one.backward_input = 1;
  one.backward_weight = 1;
  simulate::Costs costs = simulate::uniform(shape, one);
  costs.link = {.latency = 0.01, .bandwidth = 1e9};
  costs.message_bytes = 1e6;
  costs.jitter = of.jitter;
  constexpr int rounds = 3;
  double best = 1e300;
  std::int64_t actions = 0;
  for (int round = 0; round < rounds; ++round) {
    const double start = processor_seconds();
    actions = simulate::simulate(
                  {.schedule = &schedule, .shape = shape, .batches = of.batches, .costs = &costs})
                  .actions;
    best = std::min(best, processor_seconds() - start);
  }
  fmt::print("{:<12} {:>6} {:>6} {:>8} {:>7} {:>12} {:>8.3f} {:>8.1f} {:>8.1f}\n", of.schedule,
             of.stages, of.micro_batches, of.batches, of.jitter, actions, best,
             static_cast<double>(actions) / best / 1e6, peak_mebibytes());
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Case> cases{
      {"1f1b", 8, 32, 1000},  {"2bw", 8, 32, 1000},        {"2bw", 8, 32, 1000, 0.1},
      {"gpipe", 8, 32, 1000}, {"interleaved", 8, 32, 500}, {"zb-h1", 8, 32, 1000},
      {"zb-v", 8, 32, 500},   {"pipedream", 8, 32, 1000},  {"paci", 8, 32, 1000},
      {"2bw", 64, 256, 50},   {"1f1b", 1024, 4096, 1},     {"2bw", 1024, 4096, 1},
      {"2bw", 1024, 4096, 4},
  };
  try {
    if (argc == 5) cases = {{argv[1], std::stoi(argv[2]), std::stoi(argv[3]), std::stoll(argv[4])}};
    fmt::print("Best of three; a million actions per second, peak MiB of the process so far.\n");
    fmt::print("{:<12} {:>6} {:>6} {:>8} {:>7} {:>12} {:>8} {:>8} {:>8}\n", "schedule", "stages",
               "micro", "batches", "jitter", "actions", "seconds", "M/s", "MiB");
    for (const Case& of : cases) measure(of);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
