#pragma once
// The processor this program runs on.

#include <iosfwd>
#include <string>
#include <vector>

namespace penstock {

/// Instructions that decide which kernels are fast here. True only where the processor has them and
/// the operating system saves their registers. All false on other architectures than x86.
struct CpuFeatures {
  bool avx2 = false;
  bool avx512f = false;
  bool avx512_bf16 = false;
  bool amx_bf16 = false;
};

CpuFeatures cpu_features();

/// The names of the features that are there, in the order of the struct: "avx2", "avx512f",
/// "avx512_bf16", "amx_bf16".
std::vector<std::string> feature_names(const CpuFeatures& features);

/// The processor's name as its maker writes it, "unknown" where the system does not tell.
std::string cpu_model();

/// The name in a text of the form of Linux' /proc/cpuinfo: the value of its first "model name".
std::string cpu_model_in(std::istream& cpuinfo);

}  // namespace penstock
