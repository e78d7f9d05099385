#pragma once
// All bounds of this machine at once, for people and for programs.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "train/machine_bounds.h"

namespace penstock::train {

struct BenchOptions {
  std::vector<int> threads;  // of a worker; empty: 1, and as many as there are cores
  double seconds = 4;        // roughly, for all of it
};

struct Bench {
  std::vector<ProductRates> products;
  std::vector<CopyRate> copies;
  double hop_seconds = 0;
};

/// Products of both precisions and copies by one worker alone and by as many as the cores hold,
/// with each of the numbers of threads; copies within a cache by single threads only; then the
/// hop. Errors: UserError where a worker would have
/// more threads than there are cores.
Bench bench(const BenchOptions& options);

/// Tables with a bar per line; 88 columns.
std::string to_text(const Bench& bench);

/// {"products": [{"precision", "workers", "threads", "flops_per_s", "shapes": [{"kind", "n", "in",
/// "out", "flops_per_s"}]}], "copies": [{"place", "workers", "threads", "buffer_bytes",
/// "bytes_per_s"}], "hop_seconds"}. Rates are of one worker; flops_per_s of "products" is the best
/// of its shapes.
nlohmann::ordered_json to_json(const Bench& bench);

}  // namespace penstock::train
