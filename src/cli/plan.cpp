#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <list>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/physical_memory.h"
#include "cli/commands.h"
#include "config/config.h"
#include "engine/pinning.h"
#include "plan/compare.h"
#include "plan/cost_model.h"
#include "plan/planned_model.h"
#include "plan/report.h"
#include "plan/sections.h"
#include "schedule/grid_file.h"
#include "schedule/validate.h"
#include "train/catalogue.h"
#include "train/profile.h"
#include "train/update_state.h"

namespace penstock::cli {
namespace {

struct Arguments {
  std::string config;
  std::string preset;
  std::string shape;
  std::vector<std::string> overrides;
  std::string cluster;
  std::vector<std::string> cluster_overrides;
  bool help_cluster = false;
  std::optional<std::int64_t> batch_tokens;
  std::optional<int> stages;
  std::optional<int> replicas;
  std::optional<std::int64_t> micro_batch;
  std::optional<int> chunks;
  std::vector<std::string> schedules;
  std::string recompute = "any";
  bool train_here = false;
  bool bucketed = false;
  bool profile = false;
  bool compare = false;
  std::vector<double> latencies_us;
  std::vector<int> micro_batches;
  std::size_t top = 10;
  std::string out;
  bool json = false;
};

// Two threads wake each other within this time; a copy between them runs at memory speed.
constexpr plan::Wire inside_this_machine{20, 10};

plan::PlannedModel read_model(const Arguments& a, const config::Catalogue& catalogue) {
  const int given = !a.config.empty() + !a.preset.empty() + !a.shape.empty();
  if (given != 1) {
    throw user_error("command line",
                     "plan needs one model, {} were given; use one of --config FILE, --preset NAME "
                     "and --model FILE",
                     given);
  }
  if (!a.preset.empty()) return plan::preset_model(a.preset, a.overrides, catalogue);
  if (!a.shape.empty()) {
    return plan::parse_shape(plan::read_text(a.shape, "the model"), a.shape, a.overrides,
                             catalogue);
  }
  return {.config = config::load(a.config, a.overrides, catalogue), .experts = {}};
}

/// One rank per usable core, the memory shared among them. Its rate is to be measured.
plan::Cluster this_machine() {
  constexpr double gib = 1024.0 * 1024.0 * 1024.0;
  plan::Cluster cluster = plan::parse_cluster(
      "[ranks]\ncount = 1\nmemory_gib = 1\ntflops = 1\nefficiency = 1", "this machine");
  const auto cores = static_cast<std::int64_t>(engine::usable_cores().size());
  cluster.ranks.count = cores;
  cluster.ranks.per_node = cores;
  cluster.ranks.memory_gib =
      static_cast<double>(physical_memory()) / static_cast<double>(cores) / gib;
  cluster.node = inside_this_machine;
  cluster.network = inside_this_machine;
  return cluster;
}

plan::Cluster read_cluster(const Arguments& a) {
  if (!a.cluster.empty()) return plan::load_cluster(a.cluster, a.cluster_overrides);
  if (a.profile) return this_machine();
  throw user_error("command line",
                   "plan needs the ranks to plan for; give --cluster FILE (see examples/clusters "
                   "and --help-cluster), or --profile for this machine");
}

std::int64_t batch_tokens(const Arguments& a, const plan::PlannedModel& model) {
  if (a.batch_tokens) return *a.batch_tokens;
  if (!a.config.empty()) return model.config.tokens_per_update();
  if (a.compare) return model.config.model.seq;
  throw user_error("command line",
                   "plan needs the tokens of a batch with --preset and --model; give "
                   "--batch-tokens, such as {}",
                   256 * model.config.model.seq);
}

plan::MeasuredTimes measure(const config::Config& config, std::int64_t sequences) {
  fmt::print(stderr, "measuring the units of the model ...\n");
  const auto profile = train::profile(config, {.sequences = sequences});
  plan::MeasuredTimes times;
  for (const auto kind : {model::UnitKind::embedding, model::UnitKind::attention,
                          model::UnitKind::mlp, model::UnitKind::head}) {
    times.of(kind) = {profile.of(kind).forward, profile.of(kind).backward};
  }
  times.matrix_update = profile.matrix_update;
  times.other_update = profile.other_update;
  times.micro_batch = sequences;
  return times;
}

plan::Workload make_workload(const Arguments& a, const plan::PlannedModel& model) {
  plan::Workload workload;
  workload.model = model.config.model;
  workload.experts = model.experts;
  workload.precision = model.config.train.precision;
  workload.state = {.bytes = train::update_state(model.config),
                    // Optimizers that take matrices only orthogonalise them.
                    .newton_schulz = model.config.fallback.has_value()};
  workload.bucketed = a.bucketed;
  workload.sequences = plan::sequences_of(batch_tokens(a, model), model.config.model.seq);
  if (a.profile) {
    workload.measured =
        measure(model.config, a.micro_batch.value_or(model.config.pipeline.micro_batch));
  }
  return plan::make_workload(std::move(workload));
}

/// The schedules of these names and files, proved. Stay where they are, for plans point to them.
std::list<schedule::Schedule> load_schedules(const std::vector<std::string>& names) {
  std::list<schedule::Schedule> all;
  for (const auto& name : names) {
    if (std::ranges::find(all, name, &schedule::Schedule::name) != all.end()) continue;
    const auto& schedule = all.emplace_back(schedule::load(name));
    if (schedule.only_shape) schedule::require_valid(schedule, *schedule.only_shape);
  }
  return all;
}

plan::Space make_space(const Arguments& a, const std::list<schedule::Schedule>& schedules) {
  plan::Space space;
  for (const auto& schedule : schedules) space.schedules.push_back(&schedule);
  if (a.recompute != "any") {
    std::erase_if(space.recompute, [&](auto choice) { return plan::name(choice) != a.recompute; });
  }
  space.stages = a.stages;
  space.replicas = a.replicas;
  space.micro_batch = a.micro_batch;
  space.chunks = a.chunks;
  space.trainable = a.train_here;
  return space;
}

/// Reports on stderr once a search takes longer than people wait.
plan::Progress progress() {
  using Clock = std::chrono::steady_clock;
  return
      [next = Clock::now() + std::chrono::seconds(2)](std::size_t done, std::size_t all) mutable {
        if (Clock::now() < next) return;
        next = Clock::now() + std::chrono::seconds(2);
        fmt::print(stderr, "{} of {} layouts judged\n", done, all);
      };
}

void run_compare(const Arguments& a, const plan::Workload& workload, const plan::Cluster& cluster) {
  constexpr int usual_stages = 8;
  const int units = static_cast<int>(workload.units.size());
  plan::CompareRequest request;
  request.workload = &workload;
  request.cluster = &cluster;
  request.stages = a.stages.value_or(std::min({usual_stages, cluster.count(), units}));
  request.micro_batch = a.micro_batch.value_or(1);
  if (!a.latencies_us.empty()) request.latencies_us = a.latencies_us;
  request.micro_batches = a.micro_batches;
  const auto comparison = plan::compare(request);
  const auto assumed = plan::assumptions(workload, cluster);
  fmt::print("{}\n{}\n{}", plan::heading(workload, cluster), plan::text(comparison),
             plan::text(assumed));
  if (!a.json) return;
  auto object = plan::to_json(comparison);
  object["assumptions"] = plan::to_json(assumed);
  fmt::print("{}\n", object.dump());
}

void write_configuration(const Arguments& a, const plan::PlannedModel& model,
                         const plan::Workload& workload, const plan::Cluster& cluster,
                         const plan::Plan& best) {
  write_file_atomically(a.out, plan::configuration_text(model, workload, cluster, best));
  const std::string missing = plan::not_trainable(workload, best.candidate);
  fmt::print("\nwrote {} for the best plan{}\n", a.out,
             missing.empty() ? "" : "; " + missing + ", see its comments");
}

void run(const Arguments& a) {
  if (a.help_cluster) {
    fmt::print("{}", plan::describe_cluster_options());
    return;
  }
  const auto schedules = load_schedules(a.schedules);
  const auto model = read_model(a, train::catalogue());
  auto cluster = read_cluster(a);
  const auto workload = make_workload(a, model);
  if (a.cluster.empty()) cluster.ranks.tflops = plan::measured_flops(workload) / 1e12;
  if (a.compare) {
    run_compare(a, workload, cluster);
    return;
  }
  plan::Request request;
  request.workload = &workload;
  request.cluster = &cluster;
  request.space = make_space(a, schedules);
  request.top = a.top;
  request.progress = progress();
  const auto outcome = plan::search(request);
  fmt::print("{}", plan::text(workload, cluster, outcome));
  if (!a.out.empty()) write_configuration(a, model, workload, cluster, outcome.ranked.front());
  if (a.json) fmt::print("{}\n", plan::to_json(workload, cluster, outcome).dump());
}

void add_model_options(CLI::App& command, Arguments& a) {
  command.add_option("--config", a.config, "Plan for this configuration of train.");
  command.add_option("--preset", a.preset, "Plan for this preset.");
  command.add_option("--model", a.shape,
                     "Plan for the shape in this file: [model], and [experts] count, active.");
  command
      .add_option("--set", a.overrides,
                  "Override one key of the model's configuration: --set train.precision=bf16.")
      ->allow_extra_args(false);
  command.add_option("--batch-tokens", a.batch_tokens, "Tokens of a batch, that is of an update.");
}

void add_cluster_options(CLI::App& command, Arguments& a) {
  auto* cluster = command.add_option("--cluster", a.cluster, "Ranks and links (TOML).");
  command
      .add_option("--cluster-set", a.cluster_overrides,
                  "Override one key of the cluster: --cluster-set ranks.count=64.")
      ->allow_extra_args(false)
      ->needs(cluster);
  command.add_flag("--help-cluster", a.help_cluster, "Explain every key of a cluster's file.");
  command.add_flag("--profile", a.profile,
                   "Measure the model's units on this machine instead of assuming a rate; without "
                   "--cluster, plan for this machine.");
}

void add_space_options(CLI::App& command, Arguments& a) {
  const auto positive = CLI::PositiveNumber;
  command.add_option("--stages", a.stages, "Only this many stages.")->check(positive);
  command.add_option("--replicas", a.replicas, "Only this many replicas.")->check(positive);
  command.add_option("--micro-batch", a.micro_batch, "Only micro-batches of this many sequences.")
      ->check(positive);
  command.add_option("--chunks", a.chunks, "Only this many chunks, where a schedule has several.")
      ->check(positive);
  command
      .add_option("--schedule", a.schedules,
                  "Only this schedule, or the grid in this file. May be repeated.")
      ->allow_extra_args(false);
  command.add_option("--recompute", a.recompute, "none, block, stage or any.")
      ->check(CLI::IsMember({"none", "block", "stage", "any"}));
  command.add_flag("--train-here", a.train_here, "Only what train runs today: one replica.");
  command.add_flag("--bucketed", a.bucketed,
                   "Sum gradients over replicas while the last micro-batch's backward runs.");
}

void add_output_options(CLI::App& command, Arguments& a) {
  command.add_option("--top", a.top, "Plans to rank.")->check(CLI::Range(1, 1000));
  command.add_option("--out", a.out, "Write a configuration of train for the best plan.");
  command.add_flag("--json", a.json, "Print the result as one JSON object at the end.");
}

/// Comes last: what a comparison sets on its own cannot be given along with it.
void add_compare_options(CLI::App& command, Arguments& a) {
  auto* compare = command.add_flag(
      "--compare", a.compare,
      "Instead of a search: step times of 1f1b, zb-h1 and zb-v over that of 2bw, by link latency "
      "and micro-batches.");
  for (const char* flag : {"--batch-tokens", "--replicas", "--chunks", "--schedule", "--recompute",
                           "--train-here", "--bucketed", "--top", "--out"}) {
    compare->excludes(command.get_option(flag));
  }
  command.add_option("--latency-us", a.latencies_us, "Latencies for --compare.")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber)
      ->needs(compare);
  command.add_option("--micro-batches", a.micro_batches, "Micro-batches for --compare.")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->needs(compare);
}

}  // namespace

void add_plan_command(CLI::App& root) {
  auto* command = root.add_subcommand(
      "plan", "Predict which stages, replicas, micro-batches and schedule are fastest.");
  const auto arguments = std::make_shared<Arguments>();
  add_model_options(*command, *arguments);
  add_cluster_options(*command, *arguments);
  add_space_options(*command, *arguments);
  add_output_options(*command, *arguments);
  add_compare_options(*command, *arguments);
  command->footer(
      "Example: penstock plan --preset smollm2-360m --set train.precision=bf16 --cluster "
      "examples/clusters/h100-nodes.toml --batch-tokens 1048576");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace penstock::cli
