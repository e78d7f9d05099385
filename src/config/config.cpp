#include "config/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>
#include <tuple>

#include "base/error.h"
#include "base/suggest.h"
#include "config/check.h"
#include "config/document.h"
#include "config/sections.h"

namespace penstock::config {
namespace {

const std::string group_prefix = std::string(list_section) + ".";

/// Turns settings into a Config, section by section.
class Reader {
 public:
  Reader(std::vector<Setting> settings, const Catalogue& catalogue)
      : settings_(std::move(settings)), catalogue_(catalogue) {
    config_.fallback.emplace();
  }

  Config read(const std::vector<SectionHeader>& headers, std::string_view source_name) {
    check_sections(headers);
    count_groups(headers);
    for (const std::string& name : section_names(config_)) fill(name);
    refuse_strays();
    settle_model();
    settle_fallback();
    settle_grid(source_name);
    settle_chunks();
    if (config_.output.dir.empty()) config_.output.dir = default_folder(source_name);
    return std::move(config_);
  }

 private:
  void check_sections(const std::vector<SectionHeader>& headers) const {
    for (const SectionHeader& header : headers) {
      if (header.name == list_section) refuse_single_group(header.place);
      if (is_kind(header.name) || group_number(header.name)) continue;
      throw user_error(
          "config", "unknown section '{}' in {}; {}", header.name, header.place,
          advice(suggest(header.name, section_names()), "the sections are", section_names()));
    }
  }

  static bool is_kind(std::string_view name) {
    return std::ranges::find(section_names(), name) != section_names().end();
  }

  bool is_section(std::string_view name) const {
    const auto names = section_names(config_);
    return std::ranges::find(names, name) != names.end();
  }

  [[noreturn]] static void refuse_single_group(std::string_view place) {
    throw user_error("config",
                     "'{0}' in {1} is a list of sections; write [[{0}]], or --set {0}.0.<key>",
                     list_section, place);
  }

  /// Overrides may add groups behind those of the file.
  void count_groups(const std::vector<SectionHeader>& headers) {
    std::map<std::size_t, std::string> places;
    for (const SectionHeader& header : headers) {
      if (const auto number = group_number(header.name)) places.try_emplace(*number, header.place);
    }
    for (const Setting& setting : settings_) {
      if (setting.name() == list_section) refuse_single_group(setting.place);
      if (const auto number = group_number(setting.section)) {
        places.try_emplace(*number, setting.place);
      }
    }
    for (const auto& [number, place] : places) {
      if (number != config_.groups.size()) {
        throw user_error("config", "{} in {} would be a new group, but there are {}; call it {}",
                         group_name(number), place, config_.groups.size(),
                         group_name(config_.groups.size()));
      }
      config_.groups.emplace_back();
    }
  }

  static std::string advice(const std::string& near, std::string_view otherwise,
                            const std::vector<std::string>& names) {
    if (!near.empty()) return fmt::format("did you mean '{}'?", near);
    return fmt::format("{} {}", otherwise, joined(names, ", "));
  }

  /// The names that decide which other options there are come first: the keys and the defaults of
  /// the section hang on them.
  void fill(const std::string& name) {
    SectionView bare = view_section(name, config_, catalogue_);
    for (const char* key : {"name", "preset"}) {
      if (const OptionSpec* spec = bare.find(key)) apply(bare, *spec);
    }
    SectionView view = view_section(name, config_, catalogue_);
    for (const OptionSpec& spec : view.options) apply(view, spec);
    for (const Setting& setting : settings_) {
      if (setting.section == name && view.find(setting.key) == nullptr) refuse(setting, view);
    }
  }

  void apply(const SectionView& view, const OptionSpec& spec) const {
    if (spec.default_value) view.set(spec.key, *spec.default_value);
    for (const Setting& setting : settings_) {
      if (setting.section == view.name && setting.key == spec.key) {
        view.set(spec.key, setting.value_for(spec));
      }
    }
  }

  [[noreturn]] void refuse(const Setting& setting, const SectionView& view) {
    std::vector<std::string> keys;
    for (const OptionSpec& spec : view.options) keys.push_back(spec.key);
    std::string near = suggest(setting.key, keys);
    near = near.empty() ? namesake(setting.key) : view.name + "." + near;
    const std::string owner = view.owner.empty() ? "[" + view.name + "]" : view.owner;
    std::string remedy = advice(near, owner + " has", keys);
    // The keys of a component are in no one's head.
    if (!near.empty() && !view.owner.empty()) {
      remedy += fmt::format(" ({} has {})", owner, joined(keys, ", "));
    }
    throw user_error("config", "unknown key '{}' in {}; {}", setting.name(), setting.place, remedy);
  }

  /// Settings outside every section that there is.
  void refuse_strays() {
    for (const Setting& setting : settings_) {
      if (is_section(setting.section)) continue;
      if (setting.section == list_section || setting.section.starts_with(group_prefix)) {
        throw user_error("config", "'{}' in {} names no key of a group; write {}.<key>",
                         setting.name(), setting.place,
                         group_number(setting.name()) ? setting.name() : group_name(0));
      }
      if (is_section(setting.name())) {
        throw user_error("config", "'{}' in {} is a section; write {}.<key> or [{}]",
                         setting.name(), setting.place, setting.name(), setting.name());
      }
      throw user_error("config", "unknown key '{}' in {}; {}", setting.name(), setting.place,
                       advice(likely_name(setting), "the sections are", section_names()));
    }
  }

  /// An option of any section that is called `key`, by its full name; empty where there is none.
  std::string namesake(std::string_view key) {
    for (const std::string& name : section_names(config_)) {
      if (view_section(name, config_, catalogue_).find(key) != nullptr) {
        return fmt::format("{}.{}", name, key);
      }
    }
    return {};
  }

  /// The full name that a setting in no section, or in an unknown one, may have meant.
  std::string likely_name(const Setting& setting) {
    const std::string section = suggest(setting.section, section_names());
    if (section.empty()) return namesake(setting.key);
    return section + "." + setting.key;
  }

  void settle_model() {
    if (config_.model.kv_heads == 0) config_.model.kv_heads = config_.model.heads;
  }

  void settle_fallback() {
    const ComponentSpec* optimizer = find_component(catalogue_.optimizers, config_.optimizer.name);
    if (optimizer != nullptr && optimizer->takes_matrices_only) return;
    config_.fallback.reset();
    for (const Setting& setting : settings_) {
      if (setting.section != "optimizer.fallback") continue;
      config_.notes.push_back(
          fmt::format("[optimizer.fallback] is not used: optimizer '{}' takes every parameter",
                      config_.optimizer.name));
      return;
    }
  }

  /// A grid that a file names without its folder lies beside that file, as in a run folder.
  void settle_grid(std::string_view source_name) {
    std::string& schedule = config_.pipeline.schedule;
    if (!schedule.ends_with(grid_suffix)) return;
    for (const Setting& setting : settings_) {
      if (setting.name() == "pipeline.schedule" && setting.is_override) return;
    }
    const auto beside = std::filesystem::path(source_name).parent_path() / schedule;
    if (std::filesystem::exists(beside)) schedule = beside.string();
  }

  void settle_chunks() {
    for (const Setting& setting : settings_) {
      if (setting.section == "pipeline" && setting.key == "chunks") return;
    }
    const auto schedule = find_schedule(catalogue_, config_.pipeline.schedule);
    config_.pipeline.chunks = schedule ? schedule->default_chunks : 1;
  }

  static std::string default_folder(std::string_view source_name) {
    return "runs/" + std::filesystem::path(source_name).stem().string();
  }

  std::vector<Setting> settings_;
  const Catalogue& catalogue_;
  Config config_;
};

void note_rounded_tokens(Config& config) {
  if (!config.train.tokens) return;
  const std::int64_t used = config.updates() * config.tokens_per_update();
  if (used == *config.train.tokens) return;
  config.notes.push_back(fmt::format(
      "train.tokens = {} is no whole number of updates: {} updates of {} tokens train on {}",
      *config.train.tokens, config.updates(), config.tokens_per_update(), used));
}

auto identity(const Config& config) {
  return std::tie(config.model, config.data, config.pipeline, config.optimizer, config.fallback,
                  config.groups, config.correction, config.train, config.output);
}

void note_unused_momentum_start(Config& config) {
  const TrainConfig& train = config.train;
  if (train.momentum_warmup > 0 || train.momentum_cooldown > 0) return;
  if (train.momentum_start == train_options().defaults().momentum_start) return;
  config.notes.push_back(
      fmt::format("train.momentum_start = {} is not used: train.momentum_warmup and "
                  "train.momentum_cooldown are 0",
                  train.momentum_start));
}

}  // namespace

std::int64_t Config::tokens_per_update() const {
  return pipeline.micro_batches * pipeline.micro_batch * model.seq;
}

std::int64_t Config::updates() const {
  if (train.tokens) return *train.tokens / tokens_per_update();
  return train.steps.value_or(0);
}

std::int64_t Config::units() const { return 2 * model.layers + 2; }

bool operator==(const Config& a, const Config& b) { return identity(a) == identity(b); }

Config parse(std::string_view toml, std::string_view source_name,
             const std::vector<std::string>& overrides, const Catalogue& catalogue) {
  Document document = read_document(toml, source_name);
  for (const std::string& text : overrides) document.settings.push_back(read_override(text));
  Config config =
      Reader(std::move(document.settings), catalogue).read(document.sections, source_name);
  check(config, catalogue);
  note_rounded_tokens(config);
  note_unused_momentum_start(config);
  return config;
}

Config load(const std::filesystem::path& path, const std::vector<std::string>& overrides,
            const Catalogue& catalogue) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // Reading is what fails on a folder; opening succeeds.
  if (file && file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad()) {
    throw user_error("config", "cannot read '{}': {}; give the path of a TOML file", path.string(),
                     std::generic_category().message(errno));
  }
  return parse(text.str(), path.string(), overrides, catalogue);
}

}  // namespace penstock::config
