#include "plan/planned_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "config/print.h"
#include "config/sections.h"
#include "model/units.h"
#include "plan/report.h"
#include "plan/sections.h"

namespace penstock::plan {
namespace {

constexpr double gib = 1024.0 * 1024.0 * 1024.0;

bool sets(const std::vector<std::string>& overrides, std::string_view name) {
  return std::ranges::any_of(overrides, [&](const std::string& text) {
    const auto setting = config::read_override(text);
    return setting.name() == name;
  });
}

/// How many parameters the model has, whatever else is set.
std::int64_t parameters_of(std::vector<std::string> shape,
                           const std::vector<std::string>& overrides, std::string_view source_name,
                           const config::Catalogue& catalogue) {
  for (const auto& text : overrides) {
    if (config::read_override(text).section == "model") shape.push_back(text);
  }
  shape.push_back(fmt::format("data.train={}", placeholder_data));
  shape.emplace_back("train.steps=1");
  return model::parameter_count(config::parse("", source_name, shape, catalogue).model);
}

/// A configuration around a shape: placeholders for what the user did not set.
PlannedModel around(std::vector<std::string> shape, const std::vector<std::string>& overrides,
                    std::string_view source_name, const config::Catalogue& catalogue) {
  PlannedModel result;
  result.has_data = sets(overrides, "data.train");
  result.has_length = sets(overrides, "train.steps") || sets(overrides, "train.tokens");
  if (!result.has_length) {
    const auto parameters = parameters_of(shape, overrides, source_name, catalogue);
    shape.push_back(fmt::format("train.tokens={}", placeholder_tokens_per_parameter * parameters));
  }
  if (!result.has_data) shape.push_back(fmt::format("data.train={}", placeholder_data));
  shape.insert(shape.end(), overrides.begin(), overrides.end());
  result.config = config::parse("", source_name, shape, catalogue);
  return result;
}

/// Tokens of a run without a given length: at least its warm-up, and one update.
std::int64_t placeholder_tokens(const config::Config& config) {
  const std::int64_t updates = std::max(config.train.warmup, std::int64_t{1});
  return std::max(config.train.tokens.value(), updates * config.tokens_per_update());
}

config::OptionTable<Experts> expert_options() {
  using config::Range;
  config::OptionTable<Experts> table;
  table
      .integer("count", &Experts::count, 1, Range::between(1, 1e6), "copies of each MLP's matrices")
      .integer("active", &Experts::active, 1, Range::between(1, 1e6), "of them that a token uses");
  return table;
}

}  // namespace

PlannedModel preset_model(const std::string& name, const std::vector<std::string>& overrides,
                          const config::Catalogue& catalogue) {
  return around({"model.preset=" + name}, overrides, name + ".toml", catalogue);
}

PlannedModel parse_shape(std::string_view toml, std::string_view source_name,
                         const std::vector<std::string>& overrides,
                         const config::Catalogue& catalogue) {
  const auto document = config::read_document(toml, source_name);
  check_sections(document, {"model", "experts"});
  config::ModelConfig shape;
  read_section(document, "model", config::model_options(), shape);
  Experts experts;
  read_section(document, "experts", expert_options(), experts);
  std::vector<std::string> settings;
  for (const auto& setting : document.settings) {
    if (setting.section == "model") settings.push_back(setting.name() + "=" + setting.shown);
  }
  PlannedModel result = around(std::move(settings), overrides, source_name, catalogue);
  result.experts = experts;
  return result;
}

config::Config configured(const PlannedModel& base, const Workload& workload, const Plan& plan) {
  if (workload.experts != Experts{}) {
    throw user_error("plan",
                     "train has no experts, but experts.count = {}; leave out --out, or plan a "
                     "dense model",
                     workload.experts.count);
  }
  const Candidate& c = plan.candidate;
  if (c.schedule->only_shape && c.replicas > 1) {
    throw user_error("plan",
                     "train has no replicas, and the grid '{}' is for {} micro-batches, not for "
                     "those of {} replicas; set --replicas 1, or leave out --out",
                     c.schedule->name, c.shape.micro_batches, c.replicas);
  }
  config::Config config = base.config;
  config.pipeline.stages = c.shape.stages;
  config.pipeline.schedule = c.schedule->name;
  config.pipeline.chunks = c.shape.chunks;
  config.pipeline.micro_batches = std::int64_t{c.shape.micro_batches} * c.replicas;
  config.pipeline.micro_batch = c.micro_batch;
  config.pipeline.recompute = c.recompute;
  config.pipeline.partition.clear();
  for (const auto& range : c.pieces) config.pipeline.partition.push_back(range.last - range.first);
  if (!c.schedule->updates_together) config.train.clip = 0;
  if (!base.has_length) config.train.tokens = placeholder_tokens(config);
  return config;
}

std::string configuration_text(const PlannedModel& base, const Workload& workload,
                               const Cluster& cluster, const Plan& plan) {
  const Candidate& c = plan.candidate;
  const auto config = configured(base, workload, plan);
  std::string text = fmt::format(
      "# Planned: {}.\n# Predicted on {}:\n#   {:.4g} s per step, {:.0f} tokens/s, {:.2f} GiB on "
      "stage {}, gradients {} update{} old.\n",
      describe(c), describe(cluster), plan.step_seconds, plan.tokens_per_second,
      plan.peak_bytes() / gib, plan.fullest, plan.delay, plan.delay == 1 ? "" : "s");
  if (c.replicas > 1) {
    text += fmt::format(
        "# The plan has {} replicas with {} micro-batches each. train has no data parallelism yet: "
        "this\n# file runs the same batch as {} micro-batches of one pipeline.\n",
        c.replicas, c.shape.micro_batches, config.pipeline.micro_batches);
  }
  if (config.train.clip != base.config.train.clip) {
    text += fmt::format(
        "# Schedule '{}' updates every stage alone, so there is no global norm: train.clip = 0 "
        "instead of {:g}.\n",
        config.pipeline.schedule, base.config.train.clip);
  }
  if (!base.has_data) text += "# A placeholder, set it: data.train.\n";
  if (!base.has_length) {
    text += fmt::format(
        "# A placeholder, set it: train.tokens, {} per parameter or as many as the warm-up "
        "takes.\n",
        placeholder_tokens_per_parameter);
  }
  return text + "\n" + config::to_toml(config);
}

}  // namespace penstock::plan
