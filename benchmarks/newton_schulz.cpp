// What Newton-Schulz costs per update of a model, as plain products and by symmetry, and which
// blocks are best. Times are those of the thread that works; cases take turns, and the best round
// of each counts.
//
// From the root of the repository, after a build:
//   build/release/bin/newton-schulz-benchmark             the matrices of bench-10m
//   build/release/bin/newton-schulz-benchmark --blocks    the sizes of blocks, for square matrices

#include "kernels/newton_schulz.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/newton_schulz_symmetric.h"

namespace {

using namespace penstock;
using kernels::NewtonSchulz;

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// The best time of each, in milliseconds.
std::vector<double> race(const std::vector<std::function<void()>>& cases) {
  constexpr double budget = 1.5;
  constexpr int least_rounds = 5;
  std::vector<double> best(cases.size(), std::numeric_limits<double>::infinity());
  const double begin = thread_seconds();
  for (int round = 0; round < least_rounds || thread_seconds() - begin < budget; ++round) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const double before = thread_seconds();
      cases[i]();
      best[i] = std::min(best[i], 1e3 * (thread_seconds() - before));
    }
  }
  return best;
}

struct Matrices {
  std::int64_t rows, columns, count;
};

/// Eight layers of width 256: q and o; k and v; gate and up; down.
constexpr Matrices bench_10m[] = {{256, 256, 16}, {128, 256, 16}, {768, 256, 16}, {256, 768, 8}};

void print_model() {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    const NewtonSchulz options{.precision = precision};
    double plain = 0;
    double symmetric = 0;
    fmt::print("{:4}  {:>11} {:>6} {:>12} {:>12} {:>8}\n",
               precision == at::kFloat ? "fp32" : "bf16", "matrix", "count", "plain ms",
               "symmetric ms", "ratio");
    for (const auto& [rows, columns, count] : bench_10m) {
      const at::Tensor g = at::randn({rows, columns});
      const auto times = race({[&] { kernels::newton_schulz_plain(g, options); },
                               [&] { kernels::newton_schulz(g, options); }});
      fmt::print("      {:>4} x {:>4} {:>6} {:>12.3f} {:>12.3f} {:>8.2f}\n", rows, columns, count,
                 times[0], times[1], times[0] / times[1]);
      plain += static_cast<double>(count) * times[0];
      symmetric += static_cast<double>(count) * times[1];
    }
    fmt::print("      an update of all: {:.1f} ms plain, {:.1f} ms by symmetry, ratio {:.2f}\n\n",
               plain, symmetric, plain / symmetric);
  }
}

/// Gram matrix and its polynomial, whose products are symmetric.
void print_blocks() {
  constexpr std::int64_t blocks[] = {32, 64, 96, 128, 192, 256, 512};
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    for (const std::int64_t n : {64, 96, 128, 192, 256, 384, 512, 768, 1024}) {
      const at::Tensor x = at::randn({n, n}).div(static_cast<double>(n)).to(precision);
      at::Tensor gram = at::empty({n, n}, x.options());
      at::Tensor polynomial = at::empty_like(gram);
      std::vector<std::function<void()>> cases;
      const auto add = [&](std::int64_t block) {
        cases.emplace_back([&, block] {
          kernels::symmetric_product(x, gram, block);
          kernels::symmetric_quadratic(gram, -4.775, 2.0315, polynomial, block);
        });
      };
      add(n);
      for (const std::int64_t block : blocks) {
        if (block < n) add(block);
      }
      const auto times = race(cases);
      fmt::print("{} n = {:<5} plain {:8.3f} ms; faster by",
                 precision == at::kFloat ? "fp32" : "bf16", n, times[0]);
      for (std::size_t i = 1; i < times.size(); ++i) {
        fmt::print("  {}: {:.2f}", blocks[i - 1], times[0] / times[i]);
      }
      fmt::print("\n");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Newton-Schulz by plain products and by symmetry");
  bool blocks = false;
  app.add_flag("--blocks", blocks, "compare sizes of blocks");
  CLI11_PARSE(app, argc, argv);
  at::set_num_threads(1);
  const c10::InferenceMode no_gradients;
  blocks ? print_blocks() : print_model();
  return 0;
}
