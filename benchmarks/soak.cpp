// A long run under disturbance: random delays before actions, NaNs in gradients, stages that fail
// and are started again from the last checkpoint. It must give, bit for bit, the losses and norms
// of an undisturbed run on one stage, and its memory must not grow.
//
// From the root of the repository, after a build:
//   build/release/bin/soak-benchmark --updates 2000

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "checkpoint/weights_hash.h"
#include "engine/executor.h"
#include "engine/pipeline.h"
#include "train/catalogue.h"

namespace {

using namespace penstock;
using Clock = std::chrono::steady_clock;

struct Arguments {
  std::int64_t updates = 100'000;
  std::int64_t stages = 4;
  std::string schedule = "2bw";
  std::uint64_t seed = 1;
  std::int64_t save_every = 50;
  double nan_share = 0.005;      // of the updates
  double failure_share = 0.002;  // of the updates
  double delay_share = 0.02;     // of the actions
  std::int64_t delay_us = 200;   // most
  bool json = false;
};

config::Config tiny(const Arguments& a, std::int64_t stages) {
  return config::parse(fmt::format(R"(
        [model]
        layers = 4
        width = 16
        heads = 2
        kv_heads = 1
        ff = 24
        vocab = 40
        seq = 8
        tied = {}
        [data]
        train = "unused"
        tokenizer = "unused.json"
        [pipeline]
        schedule = "{}"
        stages = {}
        micro_batches = 4
        micro_batch = 1
        [optimizer]
        name = "adamw"
        lr = 3e-3
        [correction]
        name = "error_feedback"
        [train]
        steps = {}
        warmup = {}
        clip = 1.0
        threads = 1
        [output]
        save_every = {}
      )",
                                   true, a.schedule, stages, a.updates,
                                   std::min<std::int64_t>(100, a.updates), a.save_every),
                       "soak", {}, train::catalogue());
}

/// A number in [0, 1) that depends on the seed, a name and two counters only.
double draw(std::uint64_t seed, std::string_view name, std::int64_t i, std::int64_t j = 0) {
  return random_uniform(random_key(seed, name),
                        static_cast<std::uint64_t>(i) * 1024U + static_cast<std::uint64_t>(j));
}

bool is_poisoned(const Arguments& a, std::int64_t batch) {
  return draw(a.seed, "nan", batch) < a.nan_share;
}

/// Tokens that repeat with some noise, so that there is something to learn; now and then a NaN.
class Tokens final : public engine::MicroBatchSource {
 public:
  Tokens(const Arguments& arguments, const config::Config& config)
      : arguments_(arguments), config_(config) {}

  model::MicroBatch training(std::int64_t batch, std::int64_t micro_batch) override {
    const std::int64_t seq = config_.model.seq;
    at::Tensor inputs = at::empty({seq}, at::kLong);
    at::Tensor targets = at::empty({seq}, at::kLong);
    std::int64_t token = static_cast<std::int64_t>(40 * draw(7, "first", batch, micro_batch));
    for (std::int64_t i = 0; i < seq; ++i) {
      inputs.mutable_data_ptr<std::int64_t>()[i] = token;
      token = (3 * token + 1 + (draw(7, "noise", batch, 16 * micro_batch + i) < 0.1 ? 5 : 0)) % 40;
      targets.mutable_data_ptr<std::int64_t>()[i] = token;
    }
    const auto poisoned =
        static_cast<std::int64_t>(static_cast<double>(config_.pipeline.micro_batches) *
                                  draw(arguments_.seed, "nan place", batch));
    const bool nan = is_poisoned(arguments_, batch) && micro_batch == poisoned;
    return {.inputs = inputs,
            .targets = targets,
            .sequences = 1,
            .gradient_scale =
                nan ? std::nan("") : 1.0 / static_cast<double>(config_.tokens_per_update())};
  }
  model::MicroBatch validation(std::int64_t) override {
    throw std::logic_error("there is no validation data");
  }

 private:
  const Arguments& arguments_;
  const config::Config& config_;
};

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t size = 0;
  std::int64_t resident = 0;
  statm >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

struct Update {
  double loss = 0;
  double norm = 0;
  bool skipped = false;

  bool same_bits(const Update& other) const {
    const auto bits = [](double x) { return std::isnan(x) ? 1 : std::bit_cast<std::uint64_t>(x); };
    return bits(loss) == bits(other.loss) && bits(norm) == bits(other.norm) &&
           skipped == other.skipped;
  }
};

[[noreturn]] void broken(const std::string& what) {
  throw std::runtime_error("an invariant is broken: " + what);
}

/// Checks every event of the disturbed run as it comes. Any thread.
class Invariants {
 public:
  Invariants(const Arguments& arguments, const config::Config& config,
             const std::vector<Update>& reference)
      : arguments_(arguments), reference_(reference), begun_(Clock::now()) {
    next_batch_.resize(static_cast<std::size_t>(config.pipeline.stages));
  }

  /// A run begins behind the cut.
  void begin(std::int64_t cut) {
    const std::lock_guard lock(mutex_);
    states_.clear();
    for (auto& next : next_batch_) next = cut;
    next_update_ = cut;
  }

  void take(engine::Event event) {
    const std::lock_guard lock(mutex_);
    std::visit([this](auto& e) { check(e); }, event);
  }

  /// The newest cut of which every stage has given its state.
  std::vector<engine::StageState> newest() const {
    const std::lock_guard lock(mutex_);
    return complete_;
  }
  std::int64_t updates() const { return next_update_; }
  std::int64_t skipped() const { return skipped_; }
  std::int64_t captures() const { return captures_; }
  const std::vector<std::pair<std::int64_t, std::int64_t>>& memory() const { return memory_; }

 private:
  void check(const engine::UpdateEvent& event) {
    if (event.batch != next_update_) {
      broken(fmt::format("update {} is reported after {}", event.batch, next_update_ - 1));
    }
    ++next_update_;
    const Update update{event.loss, event.gradient_norm, event.skipped};
    const auto& expected = reference_.at(static_cast<std::size_t>(event.batch));
    if (!update.same_bits(expected)) {
      broken(
          fmt::format("update {} has loss {:.17g} and norm {:.17g} instead of {:.17g} and {:.17g}",
                      event.batch, update.loss, update.norm, expected.loss, expected.norm));
    }
    if (event.skipped != is_poisoned(arguments_, event.batch)) {
      broken(fmt::format("update {} was {}skipped", event.batch, event.skipped ? "" : "not "));
    }
    skipped_ += event.skipped ? 1 : 0;
    const std::int64_t step = std::max<std::int64_t>(1, arguments_.updates / 20);
    if (event.batch < sampled_ || event.batch % step != 0) return;
    sampled_ = event.batch + 1;
    memory_.emplace_back(event.batch, resident_bytes());
    const std::chrono::duration<double> elapsed = Clock::now() - begun_;
    fmt::print("  update {:>7}: loss {:.4f}, {:.1f} MiB resident, {:.0f} s\n", event.batch,
               event.loss, static_cast<double>(memory_.back().second) / 0x1p20, elapsed.count());
    std::fflush(stdout);
  }

  void check(const engine::StageEvent& event) {
    auto& next = next_batch_.at(static_cast<std::size_t>(event.stage));
    if (event.batch != next) {
      broken(fmt::format("stage {} updates from batch {} instead of {}", event.stage, event.batch,
                         next));
    }
    ++next;
    const bool two_bw = arguments_.schedule == "2bw";
    const std::int64_t delay = two_bw && event.batch > 0 ? 1 : 0;
    if (two_bw && (event.least_delay != delay || event.most_delay != delay)) {
      broken(fmt::format("stage {} has a delay of {} to {} in batch {}", event.stage,
                         event.least_delay, event.most_delay, event.batch));
    }
  }

  void check(engine::CaptureEvent& event) {
    ++captures_;
    auto& states = states_[event.state.cut];
    states.push_back(std::move(event.state));
    if (states.size() < next_batch_.size()) return;
    std::ranges::sort(states, {}, &engine::StageState::stage);
    check_tied(states);
    complete_ = std::move(states);
    states_.erase(states_.begin(), states_.upper_bound(complete_.front().cut));
  }

  /// Both copies of the tied weight are the same bits.
  static void check_tied(const std::vector<engine::StageState>& states) {
    const auto name = fmt::format("chunk.0.weights.{}", states.front().cut);
    const at::Tensor first = states.front().tensor(name);
    const at::Tensor last = states.back().tensor(name);
    const std::int64_t count = 40 * 16;  // the embedding lies first, the head last
    if (states.size() > 1 &&
        !at::equal(first.narrow(0, 0, count), last.narrow(0, last.numel() - count, count))) {
      broken(fmt::format("the copies of the tied weight differ at W({})", states.front().cut));
    }
  }
  static void check(const engine::EvaluationEvent&) {}
  static void check(const engine::SpansEvent&) {}
  static void check(const engine::ProfileEvent&) {}

  const Arguments& arguments_;
  const std::vector<Update>& reference_;
  const Clock::time_point begun_;
  mutable std::mutex mutex_;
  std::vector<std::int64_t> next_batch_;
  std::int64_t next_update_ = 0;
  std::int64_t sampled_ = 0;
  std::int64_t skipped_ = 0;
  std::int64_t captures_ = 0;
  std::map<std::int64_t, std::vector<engine::StageState>> states_;
  std::vector<engine::StageState> complete_;
  std::vector<std::pair<std::int64_t, std::int64_t>> memory_;
};

struct InjectedFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Delays and failures before the actions of one attempt.
class Disturbance {
 public:
  Disturbance(const Arguments& arguments, std::int64_t attempt)
      : arguments_(arguments),
        attempt_(attempt),
        counts_(static_cast<std::size_t>(arguments.stages)) {}

  void before(int stage, const schedule::Action& action) {
    const std::int64_t number = counts_[static_cast<std::size_t>(stage)].value++;
    const auto chance = [&](std::string_view name) {
      return draw(arguments_.seed + 1000 * static_cast<std::uint64_t>(attempt_), name, number,
                  stage);
    };
    if (chance("delay") < arguments_.delay_share) {
      const double most = static_cast<double>(arguments_.delay_us);
      std::this_thread::sleep_for(std::chrono::duration<double, std::micro>(most * chance("long")));
    }
    // About 16 actions belong to an update of a stage.
    const double per_action =
        arguments_.failure_share / static_cast<double>(arguments_.stages) / 16;
    if (chance("failure") < per_action) {
      throw InjectedFailure("a failure on purpose before " + schedule::describe(action));
    }
  }

 private:
  struct alignas(64) Count {
    std::int64_t value = 0;
  };
  const Arguments& arguments_;
  const std::int64_t attempt_;
  std::vector<Count> counts_;  // of actions, by stage
};

std::string hash_of(const engine::Pipeline& pipeline) {
  std::map<std::string, at::Tensor> weights;
  for (const auto& [name, tensor] : pipeline.weights()) weights[name] = tensor;
  return checkpoint::weights_hash(weights);
}

struct Reference {
  std::vector<Update> updates;
  std::string hash;  // of the final weights
};

/// The undisturbed run on one stage.
Reference reference_run(const Arguments& arguments) {
  Arguments calm = arguments;
  calm.save_every = 0;
  const auto config = tiny(calm, 1);
  Reference reference;
  auto& updates = reference.updates;
  updates.reserve(static_cast<std::size_t>(arguments.updates));
  engine::Pipeline pipeline(
      {.config = &config,
       .schedule = engine::proved_schedule(config),
       .make_source = [&] { return std::make_unique<Tokens>(arguments, config); },
       .report =
           [&](const engine::Event& event) {
             const auto* update = std::get_if<engine::UpdateEvent>(&event);
             if (update == nullptr) return;
             updates.push_back({update->loss, update->gradient_norm, update->skipped});
           }});
  comm::BatchGate gate(config.updates());
  pipeline.run(gate);
  reference.hash = hash_of(pipeline);
  return reference;
}

/// The hash of the final weights; none: the run failed as intended.
std::optional<std::string> attempt(const Arguments& arguments, const config::Config& config,
                                   const schedule::Schedule& schedule, Invariants& invariants,
                                   std::int64_t number) {
  auto states = invariants.newest();
  const std::int64_t cut = states.empty() ? 0 : states.front().cut;
  invariants.begin(cut);
  Disturbance disturbance(arguments, number);
  engine::Pipeline pipeline(
      {.config = &config,
       .schedule = schedule,
       .make_source = [&] { return std::make_unique<Tokens>(arguments, config); },
       .report = [&](engine::Event event) { invariants.take(std::move(event)); },
       .restore = std::move(states),
       .before_action =
           [&](int stage, const schedule::Action& action) { disturbance.before(stage, action); }});
  comm::BatchGate gate(engine::gate_setup(config, schedule, cut));
  try {
    pipeline.run(gate);
    return hash_of(pipeline);
  } catch (const engine::StageFailure& failure) {
    try {
      std::rethrow_if_nested(failure);
    } catch (const InjectedFailure&) {
      return std::nullopt;
    }
    throw;
  }
}

int run(const Arguments& arguments) {
  fmt::print("reference: {} updates on one stage, undisturbed\n", arguments.updates);
  std::fflush(stdout);
  const auto begun = Clock::now();
  const auto reference = reference_run(arguments);
  const std::chrono::duration<double> reference_time = Clock::now() - begun;
  fmt::print("  {:.0f} s\nsoak: {} on {} stages\n", reference_time.count(), arguments.schedule,
             arguments.stages);
  const auto config = tiny(arguments, arguments.stages);
  const auto schedule = engine::proved_schedule(config);
  Invariants invariants(arguments, config, reference.updates);
  std::int64_t attempts = 0;
  std::optional<std::string> hash;
  while (!(hash = attempt(arguments, config, schedule, invariants, attempts++))) {
    if (attempts > 100 + arguments.updates) broken("no progress between failures");
  }
  if (*hash != reference.hash) broken("the final weights differ");
  if (invariants.updates() != arguments.updates) broken("updates are missing at the end");
  const std::chrono::duration<double> seconds = Clock::now() - begun;
  const auto& memory = invariants.memory();
  const std::size_t settled = memory.size() / 4;  // the first quarter warms the allocator up
  const double first = static_cast<double>(memory.at(settled).second) / 0x1p20;
  const double last = static_cast<double>(memory.back().second) / 0x1p20;
  fmt::print(
      "{} updates, {} restarts, {} skipped for NaN (repeated ones included), {} captures of "
      "stages: all bits equal; memory {:.1f} MiB at update {}, {:.1f} MiB at {}; {:.0f} s\n",
      arguments.updates, attempts - 1, invariants.skipped(), invariants.captures(), first,
      memory.at(settled).first, last, memory.back().first, seconds.count());
  if (arguments.json) {
    nlohmann::ordered_json json;
    json["updates"] = arguments.updates;
    json["restarts"] = attempts - 1;
    json["skipped"] = invariants.skipped();
    json["captures"] = invariants.captures();
    json["resident_mib"] = nlohmann::ordered_json::array();
    for (const auto& [batch, bytes] : memory) {
      json["resident_mib"].push_back({batch, static_cast<double>(bytes) / 0x1p20});
    }
    json["seconds"] = seconds.count();
    fmt::print("{}\n", json.dump());
  }
  if (last > 1.02 * first + 8)
    broken(fmt::format("memory grew from {:.1f} to {:.1f} MiB", first, last));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(
      "Trains a tiny model under random delays, NaNs and failures, and checks every update.");
  app.add_option("--updates", arguments.updates, "Updates.")->check(CLI::Range(100, 100'000'000));
  app.add_option("--stages", arguments.stages, "Stages.")->check(CLI::Range(1, 4));
  app.add_option("--schedule", arguments.schedule, "Schedule.")
      ->check(CLI::IsMember({"2bw", "1f1b", "zb-h1"}));
  app.add_option("--seed", arguments.seed, "Of the disturbances.");
  app.add_option("--save-every", arguments.save_every, "Updates between two checkpoints.")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--nans", arguments.nan_share, "Share of the updates with a NaN.")
      ->check(CLI::Range(0.0, 0.2));
  app.add_option("--failures", arguments.failure_share, "Failures per update.")
      ->check(CLI::Range(0.0, 0.02));
  app.add_option("--delays", arguments.delay_share, "Share of the actions with a delay.")
      ->check(CLI::Range(0.0, 1.0));
  app.add_flag("--json", arguments.json, "Print the result as one JSON object at the end.");
  app.footer("Example: build/release/bin/soak-benchmark --updates 2000");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
