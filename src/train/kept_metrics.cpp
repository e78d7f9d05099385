#include "train/kept_metrics.h"

#include <fstream>
#include <stdexcept>
#include <utility>
#include <variant>

#include "base/error.h"
#include "observe/metrics.h"

namespace penstock::train {
namespace {

void keep(observe::Record record, const std::string& line, std::int64_t cut, KeptMetrics& kept) {
  if (auto* update = std::get_if<observe::UpdateRecord>(&record)) {
    if (update->step > cut) return;
    kept.updates.push_back(std::move(*update));
  } else {
    auto& evaluation = std::get<observe::EvalRecord>(record);
    if (evaluation.step >= cut) return;
    kept.evaluations.push_back(std::move(evaluation));
  }
  kept.text += line + '\n';
}

void require_all_updates(const std::filesystem::path& file, std::int64_t cut,
                         const KeptMetrics& kept) {
  for (std::int64_t step = 1; step <= cut; ++step) {
    const auto index = static_cast<std::size_t>(step - 1);
    if (index < kept.updates.size() && kept.updates[index].step == step) continue;
    throw user_error("resume",
                     "'{}' lacks update {} of the {} before the checkpoint; put the file back as "
                     "the run wrote it",
                     file.string(), step, cut);
  }
}

}  // namespace

KeptMetrics read_kept_metrics(const std::filesystem::path& file, std::int64_t cut) {
  std::ifstream stream(file, std::ios::binary);
  KeptMetrics kept;
  std::string line;
  // A line without its end is no record yet.
  for (std::size_t number = 1; std::getline(stream, line) && !stream.eof(); ++number) {
    try {
      keep(observe::parse_record(line), line, cut, kept);
    } catch (const std::invalid_argument&) {
      throw user_error("resume", "'{}' line {} is no record; put the file back as the run wrote it",
                       file.string(), number);
    }
  }
  require_all_updates(file, cut, kept);
  return kept;
}

}  // namespace penstock::train
