#include "plan/cluster.h"

#include <gtest/gtest.h>

#include "plan/message_of.h"

namespace penstock::plan {
namespace {

const std::string least = "[ranks]\ncount = 16\nper_node = 8\nmemory_gib = 72\ntflops = 100\n";

std::string error_of(const std::string& toml, const std::vector<std::string>& overrides = {}) {
  return message_of([&] { parse_cluster(toml, "c.toml", overrides); });
}

TEST(ClusterTest, ReadsRanksAndLinks) {
  const auto cluster =
      parse_cluster(least +
                        "efficiency = 0.5\n[node]\nlatency_us = 3\ngb_per_s = 200\n[network]\n"
                        "latency_us = 20\ngb_per_s = 25\n",
                    "c.toml");
  EXPECT_EQ(cluster.count(), 16);
  EXPECT_DOUBLE_EQ(cluster.memory(), 72.0 * 1024 * 1024 * 1024);
  EXPECT_DOUBLE_EQ(cluster.flops(0), 5e13);
  EXPECT_DOUBLE_EQ(cluster.between(0, 7).link().latency, 3e-6);
  EXPECT_DOUBLE_EQ(cluster.between(7, 8).link().latency, 20e-6);
  EXPECT_DOUBLE_EQ(cluster.between(7, 8).link().bandwidth, 25e9);
}

TEST(ClusterTest, EachRankHasItsSpeed) {
  const auto cluster = parse_cluster(
      "[ranks]\ncount = 2\nmemory_gib = 1\ntflops = 10\nefficiency = 1\nspeed_percent = [100, 40]",
      "c.toml");
  EXPECT_DOUBLE_EQ(cluster.flops(1), 4e12);
  EXPECT_DOUBLE_EQ(cluster.flops(0), 1e13);
}

TEST(ClusterTest, OverridesComeLast) {
  EXPECT_EQ(parse_cluster(least, "c.toml", {"ranks.count=32"}).count(), 32);
}

TEST(ClusterTest, RefusesWhatCannotBe) {
  EXPECT_EQ(error_of(least + "[node]\nlatency_us = -1\n"),
            "[config] node.latency_us = -1 (c.toml:7) is out of range; give a number >= 0");
  EXPECT_EQ(error_of(least + "[network]\ngb_per_s = 0\n"),
            "[config] network.gb_per_s = 0 (c.toml:7) is out of range; give a number > 0");
  EXPECT_EQ(error_of(least + "memory_gb = 3\n"),
            "[config] unknown key 'ranks.memory_gb' in c.toml:6; did you mean "
            "'ranks.memory_gib'?");
  EXPECT_EQ(error_of(least + "[netwrok]\nlatency_us = 3\n"),
            "[config] unknown section 'netwrok' in c.toml:6; did you mean 'network'?");
  EXPECT_EQ(error_of("count = 3\n"),
            "[config] unknown key 'count' in c.toml:1; the sections are ranks, node, network");
  EXPECT_EQ(error_of("[ranks]\ncount = 2\ntflops = 1\n"),
            "[plan] ranks.memory_gib is not given in c.toml; set it in section [ranks]");
  EXPECT_EQ(error_of(least + "speed_percent = [100, 50]\n"),
            "[plan] ranks.speed_percent has 2 entries, but ranks.count = 16; give one per rank");
  EXPECT_EQ(error_of(least, {"ranks.efficiency=1.5"}),
            "[config] ranks.efficiency = 1.5 (--set) is out of range; give a number in (0, 1]");
}

TEST(ClusterTest, AMissingFileIsNamed) {
  EXPECT_EQ(message_of([] { load_cluster("/does/not/exist.toml"); }),
            "[plan] cannot read the cluster '/does/not/exist.toml': No such file or directory; "
            "give the path of a TOML file");
}

}  // namespace
}  // namespace penstock::plan
