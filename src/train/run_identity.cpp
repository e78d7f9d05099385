#include "train/run_identity.h"

#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "base/build_info.h"
#include "base/cpu.h"
#include "base/error.h"
#include "config/sections.h"
#include "engine/pipeline.h"
#include "train/run_folder.h"

namespace penstock::train {
namespace {

using Texts = std::map<std::string, std::string>;

// Up to 2^20 tokens are all of them.
constexpr std::uint64_t windows = 1024;
constexpr std::uint64_t window_tokens = 1024;

bool decides_results(const std::string& name) {
  constexpr std::array<std::string_view, 2> others = {"train.skip_limit", "train.watchdog"};
  return std::ranges::find(others, name) == others.end();
}

/// Adds the windows' tokens; the last one ends with the range.
void add_tokens(checkpoint::Fingerprinter& fingerprinter, const data::TokenRange& range) {
  const std::uint64_t length = std::min(window_tokens, range.size);
  const std::uint64_t count =
      length == 0 ? 0 : std::min(windows, (range.size + length - 1) / length);
  std::vector<std::int64_t> ids(length);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t last = range.size - length;
    const std::uint64_t begin =
        count == 1 ? 0 : last / (count - 1) * i + last % (count - 1) * i / (count - 1);
    range.stream->read(range.begin + begin, ids);
    fingerprinter.add(std::as_bytes(std::span(ids)));
  }
}

Texts data_identity(const data::Prepared& data) {
  checkpoint::Fingerprinter fingerprinter;
  add_tokens(fingerprinter, data.train);
  add_tokens(fingerprinter, data.val);
  return {{"training tokens", fmt::format("{}", data.train.size)},
          {"validation tokens", fmt::format("{}", data.val.size)},
          {"vocabulary", fmt::format("{}", data.vocabulary)},
          {"entropy", fmt::format("{}", data.unigram_entropy)},
          {"hash", fingerprinter.result().xxh3}};
}

Texts origin(const config::Config& config) {
  const BuildInfo build = build_info();
  return {{"Penstock", fmt::format("{} {}", build.version, revision_name(build))},
          {"compiler", build.compiler},
          {"LibTorch", TORCH_VERSION},
          {"processor", cpu_model()},
          {"threads per stage", fmt::format("{}", engine::threads_per_stage(config))}};
}

std::string value_in(const Texts& texts, const std::string& key) {
  const auto found = texts.find(key);
  return found == texts.end() ? "nothing" : found->second;
}

/// The keys with different values, in the order of their names.
std::vector<std::string> differences(const Texts& a, const Texts& b) {
  std::vector<std::string> keys;
  for (const Texts* texts : {&a, &b}) {
    for (const auto& [key, value] : *texts) {
      if (value_in(a, key) != value_in(b, key)) keys.push_back(key);
    }
  }
  std::ranges::sort(keys);
  const auto repeated = std::ranges::unique(keys);
  keys.erase(repeated.begin(), repeated.end());
  return keys;
}

}  // namespace

Texts configuration_identity(const config::Config& config) {
  config::Config copy = config;
  const auto grid = grid_text(config);
  if (grid) copy.pipeline.schedule = "grid " + checkpoint::fingerprint_of(*grid).xxh3;
  Texts result;
  for (const std::string& section : config::section_names()) {
    const bool described = section != "data" && section != "output" &&
                           (section != "optimizer.fallback" || copy.fallback);
    if (!described) continue;
    const auto view = config::view_section(section, copy, config::Catalogue{});
    for (const auto& option : view.options) {
      const std::string name = fmt::format("{}.{}", section, option.key);
      const auto value = view.get(option.key);
      if (value && decides_results(name)) result[name] = config::to_toml(*value);
    }
  }
  return result;
}

checkpoint::Identity identity_of(const config::Config& config, const data::Prepared& data) {
  return {configuration_identity(config), data_identity(data), origin(config)};
}

void require_same_configuration(const std::filesystem::path& run,
                                const checkpoint::Identity& checkpoint,
                                const Texts& configuration) {
  const auto keys = differences(checkpoint.configuration, configuration);
  if (keys.empty()) return;
  const auto& key = keys.front();
  throw user_error("resume",
                   "the checkpoint was made with {} = {}, '{}' now has {}; set it back, or train "
                   "anew with 'penstock train {}'",
                   key, value_in(checkpoint.configuration, key), RunFolder{run}.config().string(),
                   value_in(configuration, key), RunFolder{run}.config().string());
}

void require_same_data(const checkpoint::Identity& checkpoint, const checkpoint::Identity& now) {
  const auto keys = differences(checkpoint.data, now.data);
  if (keys.empty()) return;
  // In the order of names, numbers of tokens come behind the hash, and say more.
  const auto& key = keys.back();
  throw user_error("resume",
                   "the data has changed: {} {} when the run began, {} now; put the earlier files "
                   "of data.train and data.val back, or train anew",
                   key, value_in(checkpoint.data, key), value_in(now.data, key));
}

std::vector<std::string> notes_on_origin(const checkpoint::Identity& checkpoint,
                                         const checkpoint::Identity& now) {
  std::vector<std::string> notes;
  for (const auto& key : differences(checkpoint.origin, now.origin)) {
    notes.push_back(fmt::format(
        "{} was '{}' when the checkpoint was made and is '{}' now: results may differ in the last "
        "bits",
        key, value_in(checkpoint.origin, key), value_in(now.origin, key)));
  }
  return notes;
}

}  // namespace penstock::train
