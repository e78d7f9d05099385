#include "plan/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>

namespace penstock::plan {
namespace {

constexpr double gib = 1024.0 * 1024.0 * 1024.0;
constexpr double percent = 100;
constexpr double million = 1e6;

std::string rate(double tokens_per_second) {
  if (tokens_per_second >= million) return fmt::format("{:.2f}M", tokens_per_second / million);
  if (tokens_per_second >= 1e4) return fmt::format("{:.1f}k", tokens_per_second / 1e3);
  return fmt::format("{:.0f}", tokens_per_second);
}

std::string seconds(double s) {
  return s < 0.01 ? fmt::format("{:.3f} ms", s * 1e3)
         : s < 1  ? fmt::format("{:.1f} ms", s * 1e3)
                  : fmt::format("{:.3f} s", s);
}

const char* const columns =
    "schedule     chunks  stages x repl  m x seqs   recomp  step        tokens/s  MFU    bubble  "
    "transf  exposed   memory (stage)   delay  train\n";

std::string row(const Workload& workload, const Plan& plan) {
  const auto [d, m, v] = plan.candidate.shape;
  return fmt::format(
      "{:<12} {:>6}  {:>6} x {:<5}  {:>4} x {:<4} {:<7} {:<11} {:>8}  {:>4.1f}%  {:>5.1f}%  "
      "{:>5.1f}%  {:>6.2f}ms {:>7.2f} GiB ({}){} {:>5}  {}\n",
      plan.candidate.schedule->name, v, d, plan.candidate.replicas, m, plan.candidate.micro_batch,
      name(plan.candidate.recompute), seconds(plan.step_seconds), rate(plan.tokens_per_second),
      percent * plan.utilisation, percent * plan.bubble(), percent * plan.transfer,
      1e3 * plan.exposed_reduction, plan.peak_bytes() / gib, plan.fullest,
      plan.fullest < 10    ? "  "
      : plan.fullest < 100 ? " "
                           : "",
      plan.delay, not_trainable(workload, plan.candidate).empty() ? "yes" : "no");
}

std::string indented_row(const Workload& workload, const Plan& plan) {
  return "  " + row(workload, plan);
}

/// Powers of two, and the best plan's own.
bool is_shown(int stages, int best) {
  return std::has_single_bit(static_cast<unsigned>(stages)) || stages == best;
}

std::string losers(const Workload& workload, const std::vector<Plan>& plans, const Plan& best) {
  std::string text;
  for (const Plan& plan : plans) {
    text += indented_row(workload, plan);
    const std::string why = why_slower(plan, best);
    if (!why.empty()) text += fmt::format("               {}\n", why);
  }
  return text;
}

std::string memory_table(const Plan& plan) {
  std::string text = fmt::format(
      "Memory of the best plan, GiB\n  {:<6} {:<16} {:>8} {:>8} {:>9} {:>9} {:>11} {:>8} {:>8} "
      "{:>10} {:>7}\n",
      "stage", "units", "weights", "masters", "gradients", "optimizer", "activations", "working",
      "messages", "all-reduce", "total");
  const auto& c = plan.candidate;
  for (int s = 0; s < c.shape.stages; ++s) {
    std::vector<std::string> units;
    for (int chunk = 0; chunk < c.shape.chunks; ++chunk) {
      const auto range = c.piece(s, chunk);
      units.push_back(fmt::format("{}..{}", range.first, range.last - 1));
    }
    const MemoryUse& use = plan.memory[static_cast<std::size_t>(s)];
    text += fmt::format(
        "  {:<6} {:<16} {:>8.2f} {:>8.2f} {:>9.2f} {:>9.2f} {:>11.2f} {:>8.2f} {:>8.2f} {:>10.2f} "
        "{:>7.2f}\n",
        s, fmt::format("{}", fmt::join(units, " ")), use.weights / gib, use.masters / gib,
        use.gradients / gib, use.optimizer / gib, use.activations / gib, use.working / gib,
        use.messages / gib, use.all_reduce / gib, use.total() / gib);
  }
  return text;
}

const char* name(Obstacle obstacle) {
  switch (obstacle) {
    case Obstacle::memory:
      return "memory";
    case Obstacle::shape:
      return "shape";
    case Obstacle::size:
      return "size";
    case Obstacle::lone_updates:
      return "lone updates";
    case Obstacle::recompute:
      return "recompute";
  }
  return "";
}

std::string state_words(const Workload& z) {
  double bytes = 0;
  double weights = 0;
  for (const auto& unit : z.units) {
    bytes += unit.state;
    weights += unit.weights;
  }
  return fmt::format("{:.3g} bytes per parameter, with the correction's", bytes / weights);
}

}  // namespace

std::vector<Assumption> assumptions(const Workload& z, const Cluster& cluster) {
  std::vector<Assumption> all;
  const auto& ranks = cluster.ranks;
  if (z.measured) {
    all.push_back(
        {"arithmetic", "measured on this machine",
         fmt::format("--profile, micro-batches of {} sequences", z.measured->micro_batch)});
  } else {
    all.push_back({"efficiency",
                   fmt::format("{:g} of {:g} TFLOP/s", ranks.efficiency, ranks.tflops),
                   "the cluster's file; the same for every unit and micro-batch size"});
    all.push_back({"unit overhead", fmt::format("{:g} us", ranks.unit_overhead_us),
                   "of each F, dX and dW of a unit: launches, small kernels"});
    all.push_back({"update", fmt::format("{:g} GB/s", ranks.memory_gb_per_s),
                   "each tensor read and written once; Newton-Schulz at the matrix rate"});
  }
  all.push_back({"backward", "2 x forward, half of it dX", "scores: 2 x, all of it dX"});
  all.push_back({"activations", "what this program's units save",
                 "input and normed of each unit, q k v, attended, gate, up, hidden"});
  all.push_back({"recompute", "one more forward of each layer, less its last product",
                 "keeps the input of each layer (block) or stage (stage), and all of the head"});
  all.push_back({"optimizer state", state_words(z), "as the optimizer makes it"});
  all.push_back(
      {"working memory", "gradients of one unit, and what is computed again",
       fmt::format("or {:g} fp32 copies of the largest parameter, in the update", update_copies)});
  all.push_back({"all-reduce", "ring, 2 (n-1)/n x fp32 gradients / bandwidth",
                 z.bucketed
                     ? "in buckets behind the last micro-batch's backward"
                     : "after the last backward; --bucketed overlaps it with that backward"});
  all.push_back(
      {"ranks", "stage s of replica k on rank k d + s",
       "links of a pipeline are the slowest of its replicas; no contention between them"});
  if (z.experts != Experts{}) {
    all.push_back({"experts", fmt::format("{} of {} per token", z.experts.active, z.experts.count),
                   "all experts of a layer on its rank, no router, no traffic between experts"});
  }
  return all;
}

std::string heading(const Workload& z, const Cluster& cluster) {
  const auto& m = z.model;
  std::string parameters = fmt::format("{:.1f} M parameters", z.parameters() / million);
  if (z.experts != Experts{}) {
    parameters += fmt::format(" ({:.1f} M per token)", z.active_parameters() / million);
  }
  return fmt::format(
      "model    {}{} layers, width {}, ff {}, vocabulary {}{}, sequence {}: {}, {}\n"
      "batch    {} tokens, {} sequences\n"
      "cluster  {}\n",
      m.preset.empty() ? "" : m.preset + ": ", m.layers, m.width, m.ff, m.vocab,
      m.tied ? " tied" : "", m.seq, parameters,
      z.precision == config::Precision::bf16 ? "bf16" : "fp32", z.batch_tokens(), z.sequences,
      describe(cluster));
}

std::string why_slower(const Plan& plan, const Plan& best) {
  constexpr double visible = 0.005;  // of the time
  const double excess = plan.step_seconds / best.step_seconds - 1;
  if (excess < visible) return "";
  std::vector<std::string> reasons;
  const auto compare = [&](double share, double least, const char* what) {
    if (share - least < visible) return;
    reasons.push_back(fmt::format("{} {:.1f} % of the time (best plan {:.1f} %)", what,
                                  percent * share, percent * least));
  };
  compare(plan.bubble(), best.bubble(), "bubble");
  compare(plan.transfer, best.transfer, "transfer");
  if (plan.exposed_reduction - best.exposed_reduction > visible * best.step_seconds) {
    reasons.push_back(fmt::format("reduction exposed {} (best plan {})",
                                  seconds(plan.exposed_reduction),
                                  seconds(best.exposed_reduction)));
  }
  if (plan.busiest - best.busiest > visible * best.step_seconds) {
    std::string why;
    if (plan.candidate.recompute != Recompute::none) why = ", recomputation included";
    if (plan.candidate.ranks() < best.candidate.ranks()) {
      why += fmt::format(", on {} ranks instead of {}", plan.candidate.ranks(),
                         best.candidate.ranks());
    }
    reasons.push_back(fmt::format("the busiest stage works {} longer{}",
                                  seconds(plan.busiest - best.busiest), why));
  }
  return fmt::format(
      "+{:.1f} %: {}", percent * excess,
      reasons.empty() ? "small parts of everything" : fmt::format("{}", fmt::join(reasons, "; ")));
}

std::string text(const std::vector<Assumption>& all) {
  std::string text = "Assumed\n";
  for (const auto& [name, value, reason] : all) {
    text += fmt::format("  {:<16} {}: {}\n", name, value, reason);
  }
  return text;
}

std::string text(const Workload& z, const Cluster& cluster, const Outcome& outcome) {
  const Plan& best = outcome.ranked.front();
  std::string text = heading(z, cluster);
  text += fmt::format(
      "searched {} layouts: {} fit, {} simulated, the others cannot be faster. All numbers are "
      "predictions.\n\nRanked\n  {}",
      outcome.candidates, outcome.fitting, outcome.simulated, columns);
  for (const Plan& plan : outcome.ranked) text += indented_row(z, plan);
  text += "\nBest of each schedule, and why it is slower\n";
  text += losers(z, outcome.best_of_schedule, best);
  text += "\nBest at each depth\n";
  std::vector<Plan> depths;
  for (const Plan& plan : outcome.best_of_stages) {
    if (is_shown(plan.candidate.shape.stages, best.candidate.shape.stages)) depths.push_back(plan);
  }
  text += losers(z, depths, best);
  if (!outcome.rejected.empty())
    text += "\nNot possible (an example of each; of memory, the smallest need)\n";
  for (const Rejected& group : outcome.rejected) {
    text += fmt::format("  {:<12} {:>6} x {}: {}\n", group.schedule->name, group.count,
                        name(group.obstacle), group.example);
  }
  return text + "\n" + memory_table(best) + "\n" + plan::text(assumptions(z, cluster));
}

nlohmann::ordered_json to_json(const std::vector<Assumption>& all) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& [name, value, reason] : all) {
    list.push_back({{"name", name}, {"value", value}, {"reason", reason}});
  }
  return list;
}

nlohmann::ordered_json to_json(const Workload& z, const Plan& plan) {
  const auto& c = plan.candidate;
  auto partition = nlohmann::ordered_json::array();
  for (const auto& range : c.pieces) partition.push_back(range.last - range.first);
  auto memory = nlohmann::ordered_json::array();
  for (const auto& use : plan.memory) {
    memory.push_back({{"weights", use.weights},
                      {"masters", use.masters},
                      {"gradients", use.gradients},
                      {"optimizer", use.optimizer},
                      {"activations", use.activations},
                      {"working", use.working},
                      {"messages", use.messages},
                      {"all_reduce", use.all_reduce},
                      {"total", use.total()}});
  }
  return {{"schedule", c.schedule->name},
          {"stages", c.shape.stages},
          {"chunks", c.shape.chunks},
          {"replicas", c.replicas},
          {"micro_batches", c.shape.micro_batches},
          {"micro_batch", c.micro_batch},
          {"recompute", name(c.recompute)},
          {"partition", partition},
          {"step_seconds", plan.step_seconds},
          {"tokens_per_s", plan.tokens_per_second},
          {"model_flop_utilisation", plan.utilisation},
          {"bubble", plan.bubble()},
          {"transfer", plan.transfer},
          {"exposed_reduction_seconds", plan.exposed_reduction},
          {"delay", plan.delay},
          {"peak_bytes", plan.peak_bytes()},
          {"fullest_stage", plan.fullest},
          {"memory_bytes", memory},
          {"not_trainable", not_trainable(z, c)}};
}

nlohmann::ordered_json to_json(const Workload& z, const Cluster& cluster, const Outcome& outcome) {
  const auto list = [&](const std::vector<Plan>& plans) {
    auto all = nlohmann::ordered_json::array();
    for (const Plan& plan : plans) {
      auto object = to_json(z, plan);
      object["why_slower"] = why_slower(plan, outcome.ranked.front());
      all.push_back(std::move(object));
    }
    return all;
  };
  auto rejected = nlohmann::ordered_json::array();
  for (const Rejected& group : outcome.rejected) {
    rejected.push_back({{"schedule", group.schedule->name},
                        {"obstacle", name(group.obstacle)},
                        {"count", group.count},
                        {"nearest", group.example}});
  }
  return {{"parameters", z.parameters()},
          {"batch_tokens", z.batch_tokens()},
          {"ranks", cluster.count()},
          {"assumptions", to_json(assumptions(z, cluster))},
          {"layouts", outcome.candidates},
          {"fitting", outcome.fitting},
          {"simulated", outcome.simulated},
          {"plans", list(outcome.ranked)},
          {"best_of_schedule", list(outcome.best_of_schedule)},
          {"best_of_stages", list(outcome.best_of_stages)},
          {"rejected", rejected}};
}

}  // namespace penstock::plan
