// A schedule of one's own, in one file: 1f1b that runs twice as far ahead, so that slow links cost
// nothing. In 1f1b, stage s is d-1-s forwards ahead and every message is awaited the moment it is
// sent. Here it is 2 (d-1-s) ahead: a round trip between neighbours may take one F and one B
// longer. The price is memory for the activations of up to 2 (d-1-s) + 1 micro-batches.

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string_view>

#include "schedule/compute.h"
#include "schedule/grid_file.h"
#include "schedule/validate.h"
#include "simulate/simulate.h"

namespace {

using namespace penstock;
using namespace penstock::schedule;

int lead(int stage, PipelineShape shape) {
  return std::min(2 * (shape.stages - 1 - stage), shape.micro_batches);
}

ActionStream generate(int stage, PipelineShape shape, HasBatch has_batch) {
  const int m = shape.micro_batches;
  const int ahead = lead(stage, shape);
  for (std::int64_t batch = 0; has_batch(batch); ++batch) {
    for (int j = 0; j < m + ahead; ++j) {
      if (j < m) co_yield compute::forward(batch, j, batch);
      if (j >= ahead) co_yield compute::backward(batch, j - ahead, batch);
    }
    co_yield compute::contribute(batch);
    co_yield compute::await_reduction(batch);
    co_yield compute::update(batch);
  }
}

Schedule eager_1f1b() {
  Schedule schedule;
  schedule.name = "1f1b-eager";
  schedule.summary = "synchronous, twice as far ahead as 1f1b; hides the latency of links";
  schedule.complaint = [](PipelineShape shape) {
    return complaint_about_chunks("1f1b-eager", shape);
  };
  schedule.limits = [](int stage, PipelineShape shape) {
    return StageLimits{.in_flight = std::min(lead(stage, shape) + 1, shape.micro_batches)};
  };
  schedule.generate = generate;
  return schedule;
}

double step_time(const Schedule& schedule, PipelineShape shape, double forward, double backward,
                 double latency) {
  simulate::ChunkCosts stage;
  stage.forward = forward;
  stage.backward = backward;
  simulate::Costs costs = simulate::uniform(shape, stage);
  costs.link.latency = latency;
  return simulate::simulate({.schedule = &schedule, .shape = shape, .costs = &costs}).step_time;
}

/// Says what holds; returns whether it does.
bool check(bool holds, std::string_view what) {
  fmt::print("{} {}\n", holds ? "ok:" : "WRONG:", what);
  return holds;
}

bool run() {
  const Schedule eager = eager_1f1b();
  for (int d = 1; d <= 6; ++d) {
    for (int m = 1; m <= 12; ++m) require_valid(eager, {d, m});
  }
  const PipelineShape shape{.stages = 4, .micro_batches = 8};
  fmt::print("{}\n", to_grid(eager, shape));

  const double f = 2, b = 4, latency = 3;  // 2 latency = f + b: as much as can be hidden
  const double plain = step_time(find("1f1b"), shape, f, b, latency);
  const double ahead = step_time(eager, shape, f, b, latency);
  const double expected = (8 + 4 - 1) * (f + b) + 2 * (4 - 1) * latency;  // only filling is longer
  fmt::print("step time with F = {}, B = {}, latency {}: 1f1b {}, 1f1b-eager {}\n", f, b, latency,
             plain, ahead);
  // All numbers are small whole ones, so sums of them are exact.
  return check(ahead == expected,
               fmt::format("the step takes (m+d-1)(F+B) + 2(d-1) latency = {}", expected)) &&
         check(ahead < plain, "it is faster than 1f1b");
}

}  // namespace

int main() {
  try {
    return run() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
