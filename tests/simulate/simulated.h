#pragma once
// What the tests of the simulator have in common.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "simulate/simulate.h"

namespace penstock::simulate {

inline std::size_t size(int number) { return static_cast<std::size_t>(number); }

/// F = 1, B = 2, dX = dW = 1, times `unit`.
inline Costs textbook(schedule::PipelineShape shape, double unit = 1) {
  ChunkCosts one;
  one.forward = 1 * unit;
  one.backward = 2 * unit;
  one.backward_input = 1 * unit;
  one.backward_weight = 1 * unit;
  return uniform(shape, one);
}

inline Result run(const schedule::Schedule& schedule, schedule::PipelineShape shape,
                  const Costs& costs, std::int64_t batches = 8, bool record = false) {
  return simulate({.schedule = &schedule,
                   .shape = shape,
                   .batches = batches,
                   .costs = &costs,
                   .record = record});
}

inline Result run(const char* name, schedule::PipelineShape shape, const Costs& costs,
                  std::int64_t batches = 8, bool record = false) {
  return run(schedule::find(name), shape, costs, batches, record);
}

/// Multiples of 1/64 up to 4 seconds and links of 2^k bytes per second: sums are exact.
inline Costs random_costs(schedule::PipelineShape shape, std::mt19937& random) {
  const auto draw = [&](int most) {
    return static_cast<double>(std::uniform_int_distribution(0, most)(random)) / 64;
  };
  const auto draw_link = [&] {
    return Link{.latency = draw(128),
                .bandwidth = std::exp2(std::uniform_int_distribution(0, 6)(random))};
  };
  Costs costs;
  for (int s = 0; s < shape.stages; ++s) {
    StageCosts stage;
    for (int c = 0; c < shape.chunks; ++c) {
      ChunkCosts chunk;
      chunk.forward = draw(128);
      chunk.backward = draw(256);
      chunk.backward_input = draw(128);
      chunk.backward_weight = draw(128);
      chunk.activation_bytes = 64 * draw(1000);
      stage.chunks.push_back(chunk);
    }
    stage.contribute = draw(16);
    stage.update = draw(128);
    stage.slowdown = 1 + draw(3) * 16;
    stage.weight_bytes = 64 * draw(1000);
    stage.gradient_bytes = 64 * draw(1000);
    stage.optimizer_bytes = 64 * draw(1000);
    costs.stages.push_back(stage);
  }
  costs.reduction = draw(512);
  costs.message_bytes = 8;
  costs.link = draw_link();
  if (random() % 2 == 0) costs.link = {};
  const auto links = random() % static_cast<unsigned>(shape.stages + 1);
  for (unsigned i = 0; i < links; ++i) costs.links.push_back(draw_link());
  return costs;
}

struct Case {
  const schedule::Schedule* schedule;
  schedule::PipelineShape shape;
};

/// Every schedule in every shape up to `stages` x `micro_batches` that it accepts.
inline std::vector<Case> cases(int stages, int micro_batches) {
  std::vector<Case> result;
  for (const schedule::Schedule& schedule : schedule::registry()) {
    for (int d = 1; d <= stages; ++d) {
      for (int m = 1; m <= micro_batches; ++m) {
        const schedule::PipelineShape shape{d, m, schedule.default_chunks};
        if (schedule.complaint(shape).empty()) result.push_back({&schedule, shape});
      }
    }
  }
  return result;
}

}  // namespace penstock::simulate
