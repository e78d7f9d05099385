#include "base/cpu.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace penstock {
namespace {

// The words of the first line in /proc/cpuinfo that begins with "flags": an account of the features
// that does not come from our reading of CPUID.
std::set<std::string> flags_of_the_kernel() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line;
  while (std::getline(cpuinfo, line)) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    std::set<std::string> flags;
    for (std::string word; words >> word;) flags.insert(word);
    return flags;
  }
  return {};
}

TEST(Cpu, FeaturesAgreeWithTheKernel) {
  const auto flags = flags_of_the_kernel();
  if (flags.empty()) GTEST_SKIP() << "/proc/cpuinfo lists no flags here";
  const CpuFeatures found = cpu_features();
  EXPECT_EQ(found.avx2, flags.contains("avx2"));
  EXPECT_EQ(found.avx512f, flags.contains("avx512f"));
  EXPECT_EQ(found.avx512_bf16, flags.contains("avx512_bf16"));
  EXPECT_EQ(found.amx_bf16, flags.contains("amx_bf16"));
}

TEST(Cpu, FeatureNamesKeepTheOrder) {
  EXPECT_EQ(feature_names({}), std::vector<std::string>{});
  EXPECT_EQ(feature_names({true, true, true, true}),
            (std::vector<std::string>{"avx2", "avx512f", "avx512_bf16", "amx_bf16"}));
  EXPECT_EQ(feature_names({.avx2 = true, .avx512_bf16 = true}),
            (std::vector<std::string>{"avx2", "avx512_bf16"}));
}

TEST(Cpu, ModelIsTheFirstModelName) {
  std::istringstream cpuinfo(
      "processor\t: 0\nmodel\t\t: 17\nmodel name\t:Maker's Chip 9 @ 3: GHz \n\nmodel name\t: "
      "Other\n");
  EXPECT_EQ(cpu_model_in(cpuinfo), "Maker's Chip 9 @ 3: GHz");
}

TEST(Cpu, ModelIsUnknownWhereNoneIsNamed) {
  for (const char* text : {"", "processor : 0\n", "model name\n", "model name\t:\n"}) {
    std::istringstream cpuinfo(text);
    EXPECT_EQ(cpu_model_in(cpuinfo), "unknown") << text;
  }
}

}  // namespace
}  // namespace penstock
