#include "plan/cluster.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "plan/sections.h"

namespace penstock::plan {
namespace {

using config::OptionTable;
using config::Range;

constexpr double gib = 1024.0 * 1024.0 * 1024.0;
constexpr double most_ranks = 1e6;

// Dense matrix products of large language models reach about this share of an accelerator's peak.
constexpr double usual_efficiency = 0.4;
// High-bandwidth memory of a current accelerator.
constexpr double usual_memory_gb_per_s = 2000;
// About ten kernels of 2 us to launch for each unit of the model.
constexpr double usual_unit_overhead_us = 20;

OptionTable<Ranks> rank_options() {
  OptionTable<Ranks> table;
  table.integer("count", &Ranks::count, 1, Range::between(1, most_ranks), "ranks in all")
      .integer("per_node", &Ranks::per_node, 1, Range::between(1, most_ranks),
               "ranks that [node] links connect")
      .real("memory_gib", &Ranks::memory_gib, 1, Range::above(0), "memory of one rank, GiB")
      .real("tflops", &Ranks::tflops, 1, Range::above(0),
            "peak rate of one rank in the run's precision, 1e12 FLOP/s")
      .real("efficiency", &Ranks::efficiency, usual_efficiency, Range::above_up_to(0, 1),
            "share of the peak that is reached while a stage works")
      .real("memory_gb_per_s", &Ranks::memory_gb_per_s, usual_memory_gb_per_s, Range::above(0),
            "bandwidth of a rank's memory, 1e9 bytes/s; what an update costs")
      .real("unit_overhead_us", &Ranks::unit_overhead_us, usual_unit_overhead_us,
            Range::at_least(0), "time of each pass through a unit, however few its tokens")
      .integer_list("speed_percent", &Ranks::speed_percent, "equal", Range::between(1, 1000),
                    "speed of each rank in percent of tflops");
  return table;
}

OptionTable<Wire> wire_options(double latency_us, double gb_per_s) {
  OptionTable<Wire> table;
  table
      .real("latency_us", &Wire::latency_us, latency_us, Range::at_least(0),
            "from the end of sending to arrival, microseconds")
      .real("gb_per_s", &Wire::gb_per_s, gb_per_s, Range::above(0),
            "bandwidth of one rank's link in each direction, 1e9 bytes/s");
  return table;
}

// A link inside a node as fast as today's direct ones; a network of 400 Gbit/s per rank.
OptionTable<Wire> node_options() { return wire_options(5, 200); }
OptionTable<Wire> network_options() { return wire_options(15, 50); }

void check(const Cluster& cluster, const std::set<std::string>& given,
           std::string_view source_name) {
  for (const char* key : {"count", "memory_gib", "tflops"}) {
    if (given.contains(key)) continue;
    throw user_error("plan", "ranks.{} is not given in {}; set it in section [ranks]", key,
                     source_name);
  }
  const auto& speeds = cluster.ranks.speed_percent;
  if (!speeds.empty() && static_cast<std::int64_t>(speeds.size()) != cluster.ranks.count) {
    throw user_error("plan",
                     "ranks.speed_percent has {} entries, but ranks.count = {}; give one per rank",
                     speeds.size(), cluster.ranks.count);
  }
}

template <class Section>
std::string help(std::string_view name, const OptionTable<Section>& table) {
  std::string text = fmt::format("[{}]\n", name);
  for (const auto& info : table.infos()) {
    text += fmt::format("  {:<17} default {:<8} {:<12} {}\n", info.key, info.default_text,
                        info.range_text, info.help);
  }
  return text;
}

}  // namespace

double Cluster::memory() const { return ranks.memory_gib * gib; }

double Cluster::speed(int rank) const {
  if (ranks.speed_percent.empty()) return 1;
  return static_cast<double>(ranks.speed_percent.at(static_cast<std::size_t>(rank))) / 100;
}

double Cluster::flops(int rank) const {
  return ranks.tflops * 1e12 * ranks.efficiency * speed(rank);
}

Cluster parse_cluster(std::string_view toml, std::string_view source_name,
                      const std::vector<std::string>& overrides) {
  auto document = config::read_document(toml, source_name);
  for (const auto& text : overrides) document.settings.push_back(config::read_override(text));
  check_sections(document, {"ranks", "node", "network"});
  Cluster cluster;
  const auto given = read_section(document, "ranks", rank_options(), cluster.ranks);
  read_section(document, "node", node_options(), cluster.node);
  read_section(document, "network", network_options(), cluster.network);
  check(cluster, given, source_name);
  return cluster;
}

Cluster load_cluster(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_cluster(read_text(path, "the cluster"), path, overrides);
}

std::string describe(const Cluster& cluster) {
  const Ranks& r = cluster.ranks;
  std::string text = fmt::format(
      "{} ranks, {} per node, {:.4g} GiB and {:.3g} TFLOP/s each at {:.0f} % of the peak", r.count,
      r.per_node, r.memory_gib, r.tflops, 100 * r.efficiency);
  if (!r.speed_percent.empty()) {
    const auto [slow, fast] = std::ranges::minmax(r.speed_percent);
    text += fmt::format(", speeds {} to {} %", slow, fast);
  }
  return text + fmt::format("; links {:g} us {:g} GB/s in a node, {:g} us {:g} GB/s between nodes",
                            cluster.node.latency_us, cluster.node.gb_per_s,
                            cluster.network.latency_us, cluster.network.gb_per_s);
}

std::string describe_cluster_options() {
  return help("ranks", rank_options()) + help("node", node_options()) +
         help("network", network_options());
}

}  // namespace penstock::plan
