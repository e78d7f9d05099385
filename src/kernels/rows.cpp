#include "kernels/rows.h"

#include <cmath>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Vectors wider than the registers of the build's own processor are only passed to functions that
// are inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

// GCC's default: products and sums become fused operations across expressions.
#if defined(__clang__)
#pragma clang fp contract(fast)
#endif

namespace penstock::kernels::rows::portable {
#define PENSTOCK_LANES 4
#include "kernels/row_loops.h"
}  // namespace penstock::kernels::rows::portable

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#endif
namespace penstock::kernels::rows::avx2 {
#define PENSTOCK_LANES 8
#include "kernels/row_loops.h"
}  // namespace penstock::kernels::rows::avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#endif
namespace penstock::kernels::rows::avx512 {
#define PENSTOCK_LANES 16
#include "kernels/row_loops.h"
}  // namespace penstock::kernels::rows::avx512
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4,avx512bf16"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,avx512bf16,prefer-vector-width=512")
#endif
namespace penstock::kernels::rows::avx512_bf16 {
#define PENSTOCK_LANES 16
#define PENSTOCK_ROUNDS_TO_BF16
#include "kernels/row_loops.h"
}  // namespace penstock::kernels::rows::avx512_bf16
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

namespace penstock::kernels::rows {
namespace {

std::vector<InstructionSet> find_instruction_sets() {
  std::vector<InstructionSet> result{InstructionSet::portable};
#if defined(__x86_64__)
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (v3) result.push_back(InstructionSet::avx2);
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512cd");
  if (v4) result.push_back(InstructionSet::avx512);
  if (v4 && __builtin_cpu_supports("avx512bf16")) result.push_back(InstructionSet::avx512_bf16);
#endif
  return result;
}

}  // namespace

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> sets = find_instruction_sets();
  return sets;
}

template <class T>
const Loops<T>& loops(InstructionSet set) {
#if defined(__x86_64__)
  switch (set) {
    case InstructionSet::avx2:
      return avx2::table<T>;
    case InstructionSet::avx512:
      return avx512::table<T>;
    case InstructionSet::avx512_bf16:
      return avx512_bf16::table<T>;
    case InstructionSet::portable:
      break;
  }
#endif
  static_cast<void>(set);
  return portable::table<T>;
}

template <class T>
const Loops<T>& loops() {
  static const Loops<T>& best = loops<T>(instruction_sets().back());
  return best;
}

template const Loops<float>& loops(InstructionSet);
template const Loops<Bf16Bits>& loops(InstructionSet);
template const Loops<float>& loops();
template const Loops<Bf16Bits>& loops();

void to_float(const Bf16Bits* in, float* out, std::int64_t n) {
  loops<Bf16Bits>().to_float(in, out, n);
}

void to_bf16(const float* in, Bf16Bits* out, std::int64_t n) {
  loops<Bf16Bits>().from_float(in, out, n);
}

void add(const float* x, float* y, std::int64_t n) {
  constexpr std::int64_t first = 0;
  loops<float>().add_to_rows(x, &first, y, 1, n, 0, n);
}

}  // namespace penstock::kernels::rows
