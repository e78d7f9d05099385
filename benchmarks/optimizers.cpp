// What an update costs: every optimizer and correction over one large matrix, against the speed at
// which this machine copies memory. Cases take turns, round after round, with the copy among them.
//
// From the root of the repository, after a build:
//   build/release/bin/optimizer-benchmark

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "delay/registry.h"
#include "engine/parameter_routes.h"
#include "engine/parameter_updater.h"
#include "model/units.h"
#include "optim/registry.h"
#include "train/catalogue.h"
#include "train/profile.h"

namespace {

using namespace penstock;
using Clock = std::chrono::steady_clock;

struct Arguments {
  std::int64_t rows = 4096;
  std::int64_t columns = 4096;
  std::int64_t matrix_rows = 512;  // for optimizers that multiply matrices
  std::int64_t matrix_columns = 512;
  int rounds = 7;
  int threads = 1;
  std::vector<std::string> only;
  std::vector<std::string> corrections = {"none", "error_feedback"};
  bool bf16 = false;
  bool ns_bf16 = false;
  std::string step;  // a configuration: the update's share of its step
  std::int64_t tokens = 16384;
  bool json = false;
};

/// Something that is timed: one pass over `elements`, which reads and writes `bytes`.
class Case {
 public:
  Case(std::string of, std::string with, std::int64_t count)
      : name(std::move(of)), correction(std::move(with)), elements(count) {}
  virtual ~Case() = default;
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  virtual void run() = 0;

  const std::string name;
  const std::string correction;
  const std::int64_t elements;
  int repeats = 1;              // of a sample: some optimizers do more in every tenth update
  std::optional<double> bytes;  // none: not a single sweep
  std::vector<double> seconds;  // of the rounds
};

class Copy final : public Case {
 public:
  explicit Copy(std::int64_t count)
      : Case("copy", "", count), from_(at::ones({count})), to_(at::zeros({count})) {
    bytes = 8.0 * static_cast<double>(elements);
  }
  void run() override {
    const auto* from = from_.const_data_ptr<float>();
    auto* to = to_.mutable_data_ptr<float>();
    at::parallel_for(0, elements, 1 << 16, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin) * sizeof(float));
    });
  }

 private:
  at::Tensor from_;
  at::Tensor to_;
};

template <class Entry>
config::ComponentConfig with_defaults(const Entry& entry, bool ns_bf16 = false) {
  config::ComponentConfig component{entry.spec.name, {}};
  for (const auto& option : entry.spec.options) {
    if (option.default_value) component.options[option.key] = *option.default_value;
    if (ns_bf16 && option.key == "ns_precision")
      component.options[option.key] = std::string("bf16");
  }
  return component;
}

/// Updates as in 2bw: from one slot into the other; under bf16 in place, with a copy.
class Update final : public Case {
 public:
  Update(const optim::Entry& rule, const delay::Entry& wrapper, std::int64_t rows,
         std::int64_t columns, bool bf16, bool ns_bf16)
      : Case(rule.spec.name, wrapper.spec.name, rows * columns),
        optimizer_(rule.make(with_defaults(rule, ns_bf16))),
        correction_(wrapper.make(with_defaults(wrapper))),
        gradient_(at::randn({rows, columns})),
        slots_{at::randn({rows, columns}) * 0.02, at::zeros({bf16 ? 1 : rows, columns})},
        updater_(*optimizer_, *correction_, 0.1, slots_[0]) {
    if (bf16) compute_ = slots_[0].to(at::kBFloat16);
    if (rule.spec.takes_matrices_only) repeats = 10;
    if (!updates_in_one_sweep()) return;
    double per_element = 3 * sizeof(float) + (bf16 ? 2 : 0);
    const at::Tensor element = at::zeros({1, 1});
    for (const auto& state : {optimizer_->init(element), correction_->init(element)}) {
      for (const auto& [key, tensor] : state.tensors) {
        per_element += 2 * static_cast<double>(tensor.element_size());
      }
    }
    bytes = per_element * static_cast<double>(elements);
  }

  void run() override {
    ++step_;
    const engine::ParameterUpdater::Moment moment{.step = step_, .lr = 1e-3};
    if (compute_.defined()) {
      updater_.apply({.values = gradient_, .scale = 0.5}, moment, {slots_[0], slots_[0], compute_});
    } else {
      const auto here = static_cast<std::size_t>(step_ % 2);
      updater_.apply({.values = gradient_, .scale = 0.5}, moment, {slots_[here], slots_[1 - here]});
    }
  }

 private:
  bool updates_in_one_sweep() const {
    const at::Tensor element = at::ones({1, 1});
    optim::State state = optimizer_->init(element);
    return optimizer_->sweep(element, 1, state, {}).has_value();
  }

  optim::OptimizerPtr optimizer_;
  delay::CorrectionPtr correction_;
  at::Tensor gradient_;
  at::Tensor slots_[2];
  at::Tensor compute_;
  engine::ParameterUpdater updater_;
  std::int64_t step_ = 0;
};

std::vector<std::unique_ptr<Case>> make_cases(const Arguments& a) {
  std::vector<std::unique_ptr<Case>> cases;
  cases.push_back(std::make_unique<Copy>(a.rows * a.columns));
  for (const auto& rule : optim::registry()) {
    if (!a.only.empty() && std::ranges::find(a.only, rule.spec.name) == a.only.end()) continue;
    const bool matrix = rule.spec.takes_matrices_only;
    for (const auto& correction : delay::registry()) {
      if (std::ranges::find(a.corrections, correction.spec.name) == a.corrections.end()) continue;
      cases.push_back(std::make_unique<Update>(rule, correction, matrix ? a.matrix_rows : a.rows,
                                               matrix ? a.matrix_columns : a.columns, a.bf16,
                                               a.ns_bf16));
    }
  }
  return cases;
}

/// What an update of the configuration's model is of a step on one thread.
struct Share {
  std::string optimizer;
  std::string correction;
  double update = 0;  // seconds
  double passes = 0;  // forwards and backwards of a batch, seconds
};

config::Config with_components(const Arguments& a, const std::string& optimizer,
                               const std::string& correction) {
  return config::load(a.step, {"optimizer.name=" + optimizer, "correction.name=" + correction},
                      train::catalogue());
}

double seconds_of_passes(const config::Config& config, const train::Profile& costs,
                         std::int64_t tokens) {
  double seconds = 0;
  for (const auto& unit : model::units(config.model)) {
    const auto& pass = costs.of(unit.kind);
    seconds += (pass.forward + pass.backward) * static_cast<double>(tokens);
  }
  return seconds;
}

double seconds_of_update(const config::Config& config, const train::Profile& costs) {
  double seconds = 0;
  for (const auto& parameter : engine::parameter_infos(config.model)) {
    const double each = parameter.is_block_matrix ? costs.matrix_update : costs.other_update;
    seconds += each * static_cast<double>(parameter.count());
  }
  return seconds;
}

std::vector<Share> shares_of_a_step(const Arguments& a) {
  std::vector<Share> shares;
  for (const auto& rule : optim::registry()) {
    if (!a.only.empty() && std::ranges::find(a.only, rule.spec.name) == a.only.end()) continue;
    for (const auto& correction : a.corrections) {
      fmt::print(stderr, "\r{} {}\033[K", rule.spec.name, correction);
      const auto config = with_components(a, rule.spec.name, correction);
      const auto costs = train::profile(
          config, {.threads = a.threads, .sequences = config.pipeline.micro_batch, .seconds = 0.3});
      shares.push_back({rule.spec.name, correction, seconds_of_update(config, costs),
                        seconds_of_passes(config, costs, a.tokens)});
    }
  }
  fmt::print(stderr, "\r\033[K");
  return shares;
}

void print_shares(const std::vector<Share>& shares, const Arguments& a) {
  std::vector<double> passes;
  for (const auto& share : shares) passes.push_back(share.passes);
  std::ranges::sort(passes);
  const double step = passes[passes.size() / 2];
  fmt::print("forward and backward of {} tokens: {:.3f} s ({:.3f} .. {:.3f})\n", a.tokens, step,
             passes.front(), passes.back());
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& share : shares) {
    fmt::print("{:<16} {:<20} {:>9.2f} ms {:>7.2f} % of a step\n", share.optimizer,
               share.correction, 1e3 * share.update, 100 * share.update / (step + share.update));
    rows.push_back({{"optimizer", share.optimizer},
                    {"correction", share.correction},
                    {"update_seconds", share.update}});
  }
  const nlohmann::json result{{"tokens", a.tokens}, {"pass_seconds", step}, {"shares", rows}};
  if (a.json) fmt::print("{}\n", result.dump());
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double bandwidth(const Case& c) { return c.bytes.value_or(0) / median(c.seconds); }

void print_table(const std::vector<std::unique_ptr<Case>>& cases) {
  const double copy = bandwidth(*cases.front());
  fmt::print("{:<16} {:<20} {:>12} {:>17} {:>9} {:>8} {:>9}\n", "optimizer", "correction",
             "ns/parameter", "(min .. max)", "bytes", "GB/s", "of copy");
  for (const auto& c : cases) {
    const auto scale = 1e9 / static_cast<double>(c->elements);
    const auto [least, most] = std::ranges::minmax(c->seconds);
    fmt::print("{:<16} {:<20} {:>12.3f} {:>17}", c->name, c->correction, median(c->seconds) * scale,
               fmt::format("{:.3f} .. {:.3f}", least * scale, most * scale));
    if (c->bytes) {
      fmt::print(" {:>9.0f} {:>8.1f} {:>8.0f}%", *c->bytes / static_cast<double>(c->elements),
                 bandwidth(*c) / 1e9, 100 * bandwidth(*c) / copy);
    }
    fmt::print("\n");
  }
}

void print_json(const std::vector<std::unique_ptr<Case>>& cases, const Arguments& a) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& c : cases) {
    nlohmann::json row{{"optimizer", c->name},
                       {"correction", c->correction},
                       {"elements", c->elements},
                       {"seconds", c->seconds}};
    if (c->bytes) row["bytes"] = *c->bytes;
    rows.push_back(std::move(row));
  }
  fmt::print("{}\n",
             nlohmann::json{{"threads", a.threads}, {"bf16", a.bf16}, {"cases", rows}}.dump());
}

void measure(const Arguments& a) {
  const c10::NoGradGuard no_gradients;
  at::set_num_threads(a.threads);
  at::manual_seed(1);
  auto cases = make_cases(a);
  for (auto& c : cases) {
    for (int i = 0; i < 2; ++i) c->run();  // the first makes pages and buffers
  }
  for (int round = 0; round < a.rounds; ++round) {
    for (auto& c : cases) {
      const auto begin = Clock::now();
      for (int i = 0; i < c->repeats; ++i) c->run();
      const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      c->seconds.push_back(seconds / c->repeats);
    }
    if (!a.json) fmt::print(stderr, "\rround {} of {}", round + 1, a.rounds);
  }
  if (!a.json) fmt::print(stderr, "\n");
  print_table(cases);
  if (a.json) print_json(cases, a);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  CLI::App app("What an update costs per parameter, for every optimizer and correction.");
  app.footer("Example: optimizer-benchmark --only adamw --only muon --rounds 15");
  app.add_option("--rows", a.rows, "of the matrix for elementwise rules")
      ->check(CLI::PositiveNumber);
  app.add_option("--columns", a.columns, "of it")->check(CLI::PositiveNumber);
  app.add_option("--matrix-rows", a.matrix_rows, "for optimizers of matrices")
      ->check(CLI::PositiveNumber);
  app.add_option("--matrix-columns", a.matrix_columns, "for them")->check(CLI::PositiveNumber);
  app.add_option("--rounds", a.rounds, "how often each case is timed")->check(CLI::PositiveNumber);
  app.add_option("--threads", a.threads, "for each update")->check(CLI::PositiveNumber);
  app.add_option("--only", a.only, "names of optimizers; all without it");
  app.add_option("--correction", a.corrections, "names of corrections");
  app.add_flag("--bf16", a.bf16, "weights in place, with a bf16 copy, as bf16 runs have them");
  app.add_flag("--ns-bf16", a.ns_bf16, "Newton-Schulz in bf16");
  app.add_option("--step", a.step, "configuration: each update as a share of its step instead")
      ->check(CLI::ExistingFile);
  app.add_option("--tokens", a.tokens, "of a batch of that step")->check(CLI::PositiveNumber);
  app.add_flag("--json", a.json, "all samples as one JSON object on the last line");
  CLI11_PARSE(app, argc, argv);
  try {
    if (a.step.empty()) {
      measure(a);
    } else {
      print_shares(shares_of_a_step(a), a);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
