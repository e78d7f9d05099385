#include "base/cpu.h"

#include <fstream>
#include <istream>

#if defined(__x86_64__) || defined(__i386__)
#define PENSTOCK_X86 1
#include <cpuid.h>

#include <cstdint>
#endif

namespace penstock {
namespace {

#ifdef PENSTOCK_X86

// Which register sets the operating system saves: extended control register 0.
std::uint64_t saved_register_sets() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

bool has_bits(std::uint64_t value, std::uint64_t bits) { return (value & bits) == bits; }

// Bits as in Intel's Software Developer's Manual, volume 2, CPUID, and volume 1, chapter 13.
// Not __builtin_cpu_supports: clang 14 does not know AMX.
CpuFeatures detect() {
  CpuFeatures features;
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t c = 0;
  std::uint32_t d = 0;
  constexpr std::uint32_t osxsave = 1U << 27;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & osxsave) == 0) return features;

  const std::uint64_t saved = saved_register_sets();
  const bool avx_saved = has_bits(saved, 0x6);      // SSE and AVX state
  const bool avx512_saved = has_bits(saved, 0xe6);  // and mask registers, ZMM halves, ZMM16-31
  const bool tiles_saved = has_bits(saved, 0x60000);

  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return features;
  const std::uint32_t subleaves = a;
  features.avx2 = avx_saved && has_bits(b, 1U << 5);
  features.avx512f = avx512_saved && has_bits(b, 1U << 16);
  features.amx_bf16 = tiles_saved && has_bits(d, 1U << 22);
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    features.avx512_bf16 = avx512_saved && has_bits(a, 1U << 5);
  }
  return features;
}

#else

CpuFeatures detect() { return {}; }

#endif

}  // namespace

CpuFeatures cpu_features() { return detect(); }

std::vector<std::string> feature_names(const CpuFeatures& features) {
  std::vector<std::string> names;
  if (features.avx2) names.emplace_back("avx2");
  if (features.avx512f) names.emplace_back("avx512f");
  if (features.avx512_bf16) names.emplace_back("avx512_bf16");
  if (features.amx_bf16) names.emplace_back("amx_bf16");
  return names;
}

std::string cpu_model() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  return cpu_model_in(cpuinfo);
}

std::string cpu_model_in(std::istream& cpuinfo) {
  std::string line;
  while (std::getline(cpuinfo, line)) {
    if (!line.starts_with("model name")) continue;
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    const auto first = line.find_first_not_of(" \t", colon + 1);
    if (first == std::string::npos) continue;
    return line.substr(first, line.find_last_not_of(" \t\r") + 1 - first);
  }
  return "unknown";
}

}  // namespace penstock
