#include "data/corpus_summary.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/mapped_file.h"

namespace penstock::data {
namespace {

/// Applies `use` to every key and member, so that writing and reading cannot differ.
template <class Summary, class Use>
void for_each_member(Summary& summary, Use use) {
  use("files", summary.files);
  use("skipped_files", summary.skipped_files);
  use("train_documents", summary.train_documents);
  use("val_documents", summary.val_documents);
  use("train_bytes", summary.train_bytes);
  use("val_bytes", summary.val_bytes);
  use("train_tokens", summary.train_tokens);
  use("val_tokens", summary.val_tokens);
  use("vocabulary", summary.vocabulary);
  use("tokenizer", summary.tokenizer);
  use("unigram_entropy", summary.unigram_entropy);
}

}  // namespace

std::string to_json(const CorpusSummary& summary) {
  nlohmann::ordered_json object;
  for_each_member(summary, [&](const char* key, const auto& value) { object[key] = value; });
  return object.dump();
}

CorpusSummary load_summary(const std::filesystem::path& file) {
  CorpusSummary summary;
  try {
    const nlohmann::json object = nlohmann::json::parse(MappedFile(file).bytes());
    for_each_member(summary, [&](const char* key, auto& value) { object.at(key).get_to(value); });
  } catch (const nlohmann::json::exception& error) {
    throw user_error("data", "'{}' is not a corpus summary: {}", file.string(), error.what());
  }
  return summary;
}

}  // namespace penstock::data
