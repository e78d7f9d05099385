#pragma once
// What a run that goes on keeps of its metrics.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "observe/record.h"

namespace penstock::train {

struct KeptMetrics {
  std::string text;  ///< The kept lines as they are in the file.
  std::vector<observe::UpdateRecord> updates;
  std::vector<observe::EvalRecord> evaluations;
};

/// Reads the records before the cut at `cut` of metrics.jsonl: updates that make W(cut) or earlier
/// weights, evaluations of earlier weights. Lines behind it are left out, with whatever a lost
/// machine has left of the last one.
/// Errors: UserError "[resume]" for a line that is no record and for updates that are missing.
KeptMetrics read_kept_metrics(const std::filesystem::path& file, std::int64_t cut);

}  // namespace penstock::train
