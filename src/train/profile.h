#pragma once
// What the units of a model take on this machine.

#include <array>
#include <cstdint>

#include "config/config.h"
#include "model/units.h"

namespace penstock::train {

/// Medians, in seconds.
struct Profile {
  struct Pass {
    double forward = 0;   // per token
    double backward = 0;  // per token
  };
  std::array<Pass, 4> passes{};  // by model::UnitKind
  double matrix_update = 0;      // per parameter of a block's matrices
  double other_update = 0;       // per parameter of the embedding

  const Pass& of(model::UnitKind kind) const { return passes[static_cast<std::size_t>(kind)]; }
  Pass& of(model::UnitKind kind) { return passes[static_cast<std::size_t>(kind)]; }
};

struct ProfileOptions {
  int threads = 1;             // of a stage
  std::int64_t sequences = 1;  // of a micro-batch
  double seconds = 0.5;        // to measure each pass for, after one to warm up; at least 3 passes
};

/// Times forward and backward of each kind of unit and the update of its parameters, with the
/// configuration's shape, precision, optimizer and correction, through the functions that training
/// uses. Holds one unit at a time. Leaves its thread with options.threads and without gradient
/// mode.
Profile profile(const config::Config& config, const ProfileOptions& options);

}  // namespace penstock::train
