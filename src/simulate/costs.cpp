#include "simulate/costs.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <string>
#include <string_view>

#include "base/error.h"

namespace penstock::simulate {
namespace {

void require_amount(double value, std::string_view unit, std::string_view name) {
  if (value >= 0 && std::isfinite(value)) return;
  throw user_error("costs", "{} is {}, but must be a finite number of {}; set it to 0 or more",
                   name, value, unit);
}

void check_duration(const Duration& duration, const std::string& name) {
  require_amount(duration.mean, "seconds", name);
  for (const double sample : duration.samples) {
    require_amount(sample, "seconds", "a sample of " + name);
  }
}

void check_chunk(const ChunkCosts& chunk, const std::string& where) {
  check_duration(chunk.forward, "forward " + where);
  check_duration(chunk.backward, "backward " + where);
  check_duration(chunk.backward_input, "backward_input " + where);
  check_duration(chunk.backward_weight, "backward_weight " + where);
  require_amount(chunk.activation_bytes, "bytes", "activation_bytes " + where);
}

void check_stage(const StageCosts& stage, int number, int chunks) {
  const std::string where = fmt::format("of stage {}", number);
  if (stage.chunks.size() != static_cast<std::size_t>(chunks)) {
    throw user_error("costs",
                     "stage {} has costs of {} chunks, but the pipeline has {} per stage; give one "
                     "entry per chunk",
                     number, stage.chunks.size(), chunks);
  }
  for (std::size_t chunk = 0; chunk < stage.chunks.size(); ++chunk) {
    check_chunk(stage.chunks[chunk],
                chunks == 1 ? where : fmt::format("of chunk {} {}", chunk, where));
  }
  check_duration(stage.contribute, "contribute " + where);
  check_duration(stage.update, "update " + where);
  require_amount(stage.weight_bytes, "bytes", "weight_bytes " + where);
  require_amount(stage.gradient_bytes, "bytes", "gradient_bytes " + where);
  require_amount(stage.optimizer_bytes, "bytes", "optimizer_bytes " + where);
  if (!(stage.slowdown > 0) || !std::isfinite(stage.slowdown)) {
    throw user_error("costs", "slowdown {} is {}, but must be above 0; set 1 for full speed", where,
                     stage.slowdown);
  }
}

void check_link(const Link& link, const std::string& where) {
  require_amount(link.latency, "seconds", "latency" + where);
  if (link.bandwidth > 0) return;
  throw user_error("costs",
                   "bandwidth{} is {} bytes per second, but must be above 0; leave it out for a "
                   "link that takes no time",
                   where, link.bandwidth);
}

}  // namespace

double Duration::expected() const {
  if (samples.empty()) return mean;
  return std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
}

Duration Duration::scaled(double factor) const {
  Duration result = *this;
  result.mean *= factor;
  for (double& sample : result.samples) sample *= factor;
  return result;
}

Costs uniform(schedule::PipelineShape shape, const ChunkCosts& one, double update) {
  const double share = 1.0 / shape.chunks;
  ChunkCosts chunk;
  chunk.forward = one.forward.scaled(share);
  chunk.backward = one.backward.scaled(share);
  chunk.backward_input = one.backward_input.scaled(share);
  chunk.backward_weight = one.backward_weight.scaled(share);
  chunk.activation_bytes = one.activation_bytes * share;
  StageCosts stage;
  stage.chunks.assign(static_cast<std::size_t>(shape.chunks), chunk);
  stage.update = update;
  Costs costs;
  costs.stages.assign(static_cast<std::size_t>(shape.stages), stage);
  return costs;
}

void check(const Costs& costs, schedule::PipelineShape shape) {
  const auto stages = static_cast<std::size_t>(shape.stages);
  if (costs.stages.size() != stages) {
    throw user_error(
        "costs", "the costs are of {} stages, but the pipeline has {}; give one entry per stage",
        costs.stages.size(), shape.stages);
  }
  for (int s = 0; s < shape.stages; ++s) {
    check_stage(costs.stages[static_cast<std::size_t>(s)], s, shape.chunks);
  }
  check_link(costs.link, "");
  if (costs.links.size() > stages) {
    throw user_error("costs", "there are {} links, but {} stages have at most {}; leave some out",
                     costs.links.size(), shape.stages, shape.stages);
  }
  for (std::size_t i = 0; i < costs.links.size(); ++i) {
    check_link(costs.links[i], fmt::format(" of link {}", i));
  }
  require_amount(costs.message_bytes, "bytes", "message_bytes");
  require_amount(costs.reduction, "seconds", "reduction");
  if (!(costs.jitter >= 0) || !std::isfinite(costs.jitter)) {
    throw user_error("costs", "jitter is {}, but must be 0 or more; 0.1 means ten per cent",
                     costs.jitter);
  }
  if (!costs.failure) return;
  if (costs.failure->stage < 0 || costs.failure->stage >= shape.stages) {
    throw user_error("costs", "stage {} is to fail, but the stages are 0 to {}; choose one of them",
                     costs.failure->stage, shape.stages - 1);
  }
  require_amount(costs.failure->at, "seconds", "the time of the failure");
}

}  // namespace penstock::simulate
