#pragma once
// What a plan may use: ranks (one accelerator or processor each) and the links between them.
//
//   [ranks]    count, per_node, memory_gib, tflops, efficiency, memory_gb_per_s, unit_overhead_us,
//              speed_percent
//   [node]     latency_us, gb_per_s        of a link between two ranks of one node
//   [network]  latency_us, gb_per_s        of a link between ranks of different nodes
//
// Defaults, ranges and help are declared in cluster.cpp.

#include <string>
#include <string_view>
#include <vector>

#include "config/value.h"
#include "simulate/costs.h"

namespace penstock::plan {

struct Ranks {
  std::int64_t count = 1;
  std::int64_t per_node = 1;
  double memory_gib = 0;        ///< Of one rank, for the program to use.
  double tflops = 0;            ///< Peak of one rank in the precision of the run, 1e12 FLOP/s.
  double efficiency = 0;        ///< Share of the peak that a stage reaches while it works.
  double memory_gb_per_s = 0;   ///< Bandwidth of a rank's memory: the price of an update.
  double unit_overhead_us = 0;  ///< Of each pass through a unit, however few its tokens.
  config::IntegerList speed_percent;  ///< Of each rank; empty: all 100.
};

struct Wire {
  double latency_us = 0;
  double gb_per_s = 0;

  simulate::Link link() const { return {latency_us * 1e-6, gb_per_s * 1e9}; }
};

struct Cluster {
  Ranks ranks;
  Wire node;
  Wire network;

  int count() const { return static_cast<int>(ranks.count); }
  /// Bytes that a plan may use on one rank.
  double memory() const;
  /// FLOP per second of a rank, efficiency and its own speed included.
  double flops(int rank) const;
  /// 1 for a rank at full speed.
  double speed(int rank) const;
  bool same_node(int a, int b) const { return a / ranks.per_node == b / ranks.per_node; }
  const Wire& between(int a, int b) const { return same_node(a, b) ? node : network; }
};

/// Reads `toml`; `overrides` are "section.key=value". Errors: UserError: unknown key or section
/// (with the likely one), value out of range, missing ranks.count, memory_gib or tflops,
/// speed_percent with another number of entries than there are ranks.
Cluster parse_cluster(std::string_view toml, std::string_view source_name,
                      const std::vector<std::string>& overrides = {});

/// parse_cluster() of a file.
Cluster load_cluster(const std::string& path, const std::vector<std::string>& overrides = {});

/// "64 ranks, 8 per node, 80 GiB, 989 TFLOP/s at 40 %; ..." for the head of a report.
std::string describe(const Cluster& cluster);

/// Help on every key.
std::string describe_cluster_options();

}  // namespace penstock::plan
