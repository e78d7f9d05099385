#pragma once
// Costs as a file, written by people (TOML) or by a measured run (JSON).
//
//   message_bytes = 1048576          # all keys but stages may be left out
//   reduction = 1e-4                 # seconds
//   jitter = 0.05                    # relative standard deviation of durations
//   link = { latency = 1e-5, bandwidth = 1e10 }
//   links = [ { latency = 5e-6 } ]   # stages 0-1, 1-2, ...; the rest, and what is left out: `link`
//
//   [[stages]]                       # one entry per stage, or a single one for all
//   forward = 0.010                  # seconds, or a list of samples [0.0100, 0.0103, 0.0099]
//   backward = 0.020
//   backward_input = 0.012           # left out: half of backward
//   backward_weight = 0.008
//   activation_bytes = 4194304       # of one micro-batch, from F to B or dW
//   update = 0.003
//   contribute = 0.0001
//   slowdown = 1                     # factor on this stage's durations
//   weight_bytes = 1e9               # of one version
//   gradient_bytes = 1e9             # of one buffer
//   optimizer_bytes = 2e9
//
// The first five of a stage are those of all its chunks together, which share them equally; a stage
// whose chunks differ has a list `chunks` with one table of these keys per chunk instead. Where
// `backward` is left out, it is the sum of the means of the two behind it. JSON has the same keys.

#include <filesystem>
#include <string>
#include <string_view>

#include "simulate/costs.h"

namespace penstock::simulate {

/// Text that starts with '{' is JSON, other text TOML. `source` names it in messages.
/// Errors: UserError for text that is neither, unknown keys, values of a wrong kind or out of
/// range, and costs of another number of stages or chunks than `shape` has.
Costs read_costs(std::string_view text, std::string_view source, schedule::PipelineShape shape);

/// Errors: as above, and UserError where the file cannot be read.
Costs load_costs(const std::filesystem::path& file, schedule::PipelineShape shape);

/// JSON that read_costs() reads back to the same values, but for seed and failure, which belong to
/// a run.
std::string to_json(const Costs& costs);

}  // namespace penstock::simulate
