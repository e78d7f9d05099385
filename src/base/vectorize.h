#pragma once
// Run-time choice of the instruction set for plain loops.

// One body, compiled for several instruction sets; the loader picks the best the CPU has. The
// sanitizer runtimes start after the loader's choice, so those builds get the portable body only.
#if defined(__x86_64__) && !defined(PENSTOCK_PORTABLE_KERNELS)
#define PENSTOCK_VECTORIZE \
  __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define PENSTOCK_VECTORIZE
#endif

// For function templates, which clang cannot clone: it vectorises them for the build's own target.
#if defined(__clang__)
#define PENSTOCK_VECTORIZE_TEMPLATE
#define PENSTOCK_INDEPENDENT_ITERATIONS _Pragma("clang loop vectorize(assume_safety)")
#else
#define PENSTOCK_VECTORIZE_TEMPLATE PENSTOCK_VECTORIZE
#define PENSTOCK_INDEPENDENT_ITERATIONS _Pragma("GCC ivdep")
#endif
