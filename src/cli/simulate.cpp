#include "simulate/simulate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/shape_options.h"
#include "schedule/grid_file.h"
#include "schedule/validate.h"
#include "simulate/cost_options.h"
#include "simulate/report.h"

namespace penstock::cli {
namespace {

struct Options {
  std::string schedule;
  ShapeOptions shape;
  std::int64_t batches = 8;
  simulate::CostOptions costs;
  bool json = false;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Of a built-in schedule, executed to prove it: some 3 seconds.
constexpr double most_actions_to_validate = 50e6;

/// A grid is always proved: nobody else has, and its text bounds its size.
bool is_to_be_proved(const schedule::Schedule& schedule, schedule::PipelineShape shape) {
  return schedule.only_shape || actions_to_validate(schedule, shape) <= most_actions_to_validate;
}

std::string not_proved(const schedule::Schedule& schedule, schedule::PipelineShape shape) {
  return fmt::format(
      "\nnot proved: {:.3g} million actions are too many; proved shapes go up to {:.3g} million\n",
      actions_to_validate(schedule, shape) / 1e6, most_actions_to_validate / 1e6);
}

std::string with_proved(const std::string& json, bool proved) {
  auto object = nlohmann::ordered_json::parse(json);
  object["proved"] = proved;
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// Some five minutes at the speed that benchmarks/simulator.cpp measures.
void check_work(const simulate::Request& request) {
  constexpr double most_actions = 1e10;
  constexpr double per_micro_batch = 6;  // F and B, with the transfers around them
  const double per_batch = per_micro_batch * request.shape.pieces() * request.shape.micro_batches;
  const double actions = per_batch * static_cast<double>(request.batches);
  if (actions <= most_actions) return;
  throw user_error("simulate",
                   "{} stages, {} micro-batches and {} batches are about {:.2g} actions, but at "
                   "most {:.0g} are simulated; set {}",
                   request.shape.stages, request.shape.micro_batches, request.batches, actions,
                   most_actions,
                   per_batch <= most_actions
                       ? fmt::format("--batches {:.0f}", std::floor(most_actions / per_batch))
                       : std::string("fewer stages or micro-batches"));
}

void run(const Options& options) {
  const schedule::Schedule schedule = schedule::load(options.schedule);
  simulate::Request request;
  request.schedule = &schedule;
  request.shape = shape_of("simulate", options.shape, schedule);
  request.batches = options.batches;
  check_shape(schedule, request.shape);
  check_work(request);
  const bool proved = is_to_be_proved(schedule, request.shape);
  if (proved) require_valid(schedule, request.shape);
  const simulate::Costs costs = simulate::make_costs(options.costs, request.shape);
  request.costs = &costs;
  const auto start = std::chrono::steady_clock::now();
  const simulate::Result result = simulate::simulate(request);
  const double seconds = seconds_since(start);
  if (!result.stuck.empty() && !costs.failure) {
    throw user_error(
        "simulate",
        "schedule '{}' with {} stages and {} micro-batches comes to a stop: {}; change "
        "the order of its actions",
        schedule.name, request.shape.stages, request.shape.micro_batches,
        fmt::join(result.stuck, ", "));
  }
  std::cout << simulate::to_text(request, result, seconds);
  if (!proved) std::cout << not_proved(schedule, request.shape);
  if (options.json) {
    std::cout << with_proved(simulate::to_json(request, result, seconds), proved) << '\n';
  }
}

void add_durations(CLI::App& command, simulate::CostOptions& costs) {
  const auto add = [&](const char* flag, std::optional<double>& value, const char* text) {
    command.add_option(flag, value, text)->group("Seconds");
  };
  add("--forward", costs.forward, "F of one micro-batch on a stage; 1 unless a file says");
  add("--backward", costs.backward, "B; 2 unless a file says");
  add("--dx", costs.backward_input, "dX, the part of B that the stage before waits for; half of B");
  add("--dw", costs.backward_weight, "dW, the rest of B; half of B");
  add("--contribute", costs.contribute, "A stage's share of the reduction; 0");
  add("--reduction", costs.reduction, "From the last stage's share to everybody's result; 0");
  add("--update", costs.update, "Update of a stage's weights; 0");
  add("--latency", costs.latency, "From the end of sending a message to its arrival; 0");
}

void add_sizes(CLI::App& command, simulate::CostOptions& costs) {
  const auto add = [&](const char* flag, std::optional<double>& value, const char* text) {
    command.add_option(flag, value, text)->group("Bytes");
  };
  add("--bandwidth", costs.bandwidth, "Of a link in each direction, bytes per second; no limit");
  add("--message-bytes", costs.message_bytes, "Of one activation or gradient; 0");
  add("--activation-bytes", costs.activation_bytes,
      "That a stage keeps of one micro-batch from F to B; 0");
  add("--weight-bytes", costs.weight_bytes, "Of one version of a stage's weights; 0");
  add("--gradient-bytes", costs.gradient_bytes, "Of one buffer of a stage's gradients; 0");
  add("--optimizer-bytes", costs.optimizer_bytes, "Of a stage's optimizer; 0");
}

void add_disturbances(CLI::App& command, simulate::CostOptions& costs) {
  const std::string group = "Disturbances";
  command
      .add_option("--jitter", costs.jitter,
                  "Relative standard deviation of durations, log-normal of mean 1; 0")
      ->group(group);
  command
      .add_option("--straggler", costs.stragglers,
                  "STAGE:FACTOR makes all work of a stage take so many times as long; repeatable")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
  command
      .add_option("--fail", costs.failure,
                  "STAGE@SECONDS stops a stage at that time; shows what the others wait for")
      ->group(group);
  command.add_option("--seed", costs.seed, "Of jitter and of draws from samples")
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void add_simulate_command(CLI::App& root) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      root.add_subcommand("simulate", "Predict a schedule's speed, waits and memory");
  command
      ->add_option("--schedule", options->schedule,
                   "Name of a schedule, or a file with a grid of one")
      ->required();
  command->add_option("--stages", options->shape.stages,
                      "Stages of the pipeline; a grid file has its own");
  command->add_option("--micro-batches", options->shape.micro_batches,
                      "Micro-batches of a batch; a grid file has its own");
  command->add_option("--chunks", options->shape.chunks,
                      "Pieces of the model on each stage; the schedule's own number by default");
  command->add_option("--batches", options->batches, "Batches of the run")->capture_default_str();
  command->add_option("--costs", options->costs.file,
                      "TOML or JSON with costs per stage, such as `penstock trace --costs` writes; "
                      "the flags below take precedence");
  add_durations(*command, options->costs);
  add_sizes(*command, options->costs);
  add_disturbances(*command, options->costs);
  command->add_flag("--json", options->json, "Print the result as JSON in the last line, too");
  command->footer(
      "Example:\n"
      "  penstock simulate --schedule 2bw --stages 4 --micro-batches 8\n"
      "  penstock simulate --schedule 1f1b --stages 4 --micro-batches 8 --latency 0.1 --jitter "
      "0.05 --straggler 2:1.2");
  command->callback([options] { run(*options); });
}

}  // namespace penstock::cli
