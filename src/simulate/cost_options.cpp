#include "simulate/cost_options.h"

#include <charconv>

#include "base/error.h"
#include "simulate/cost_file.h"

namespace penstock::simulate {
namespace {

/// All of `text` as a number.
template <class Number>
bool read(std::string_view text, Number& number) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end;
}

struct StageValue {
  int stage = 0;
  double value = 0;
};

StageValue read_stage_value(std::string_view option, std::string_view text, char separator,
                            std::string_view example, schedule::PipelineShape shape) {
  const auto at = text.find(separator);
  StageValue result;
  if (at == std::string_view::npos || !read(text.substr(0, at), result.stage) ||
      !read(text.substr(at + 1), result.value)) {
    throw user_error("simulate", "{} '{}' is not a stage and a number; write {}", option, text,
                     example);
  }
  if (result.stage < 0 || result.stage >= shape.stages) {
    throw user_error("simulate", "{} '{}' names stage {}, but the stages are 0 to {}; choose one",
                     option, text, result.stage, shape.stages - 1);
  }
  return result;
}

void replace(double& value, const std::optional<double>& with) {
  if (with) value = *with;
}
void replace(Duration& value, const std::optional<double>& with, double share = 1) {
  if (with) value = *with * share;
}

std::optional<double> half(const std::optional<double>& value) {
  return value ? std::optional(*value / 2) : std::nullopt;
}

void apply(const CostOptions& options, StageCosts& stage) {
  const double share = 1.0 / static_cast<double>(stage.chunks.size());
  auto backward = options.backward;
  if (!backward && options.backward_input && options.backward_weight) {
    backward = *options.backward_input + *options.backward_weight;
  }
  const auto input = options.backward_input ? options.backward_input : half(options.backward);
  const auto weight = options.backward_weight ? options.backward_weight : half(options.backward);
  for (ChunkCosts& chunk : stage.chunks) {
    replace(chunk.forward, options.forward, share);
    replace(chunk.backward, backward, share);
    replace(chunk.backward_input, input, share);
    replace(chunk.backward_weight, weight, share);
    if (options.activation_bytes) chunk.activation_bytes = *options.activation_bytes * share;
  }
  replace(stage.contribute, options.contribute);
  replace(stage.update, options.update);
  replace(stage.weight_bytes, options.weight_bytes);
  replace(stage.gradient_bytes, options.gradient_bytes);
  replace(stage.optimizer_bytes, options.optimizer_bytes);
}

Costs starting_point(const CostOptions& options, schedule::PipelineShape shape) {
  if (!options.file.empty()) return load_costs(options.file, shape);
  ChunkCosts one;
  one.forward = 1;
  one.backward = 2;
  one.backward_input = 1;
  one.backward_weight = 1;
  return uniform(shape, one);
}

}  // namespace

Costs make_costs(const CostOptions& options, schedule::PipelineShape shape) {
  Costs costs = starting_point(options, shape);
  for (StageCosts& stage : costs.stages) apply(options, stage);
  replace(costs.reduction, options.reduction);
  replace(costs.message_bytes, options.message_bytes);
  replace(costs.jitter, options.jitter);
  replace(costs.link.latency, options.latency);
  replace(costs.link.bandwidth, options.bandwidth);
  for (Link& link : costs.links) {
    replace(link.latency, options.latency);
    replace(link.bandwidth, options.bandwidth);
  }
  for (const std::string& text : options.stragglers) {
    const auto [stage, factor] = read_stage_value("--straggler", text, ':', "STAGE:FACTOR", shape);
    costs.stages[static_cast<std::size_t>(stage)].slowdown = factor;
  }
  if (!options.failure.empty()) {
    const auto [stage, at] =
        read_stage_value("--fail", options.failure, '@', "STAGE@SECONDS", shape);
    costs.failure = Failure{.stage = stage, .at = at};
  }
  costs.seed = options.seed;
  check(costs, shape);
  return costs;
}

}  // namespace penstock::simulate
