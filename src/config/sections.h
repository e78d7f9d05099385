#pragma once
// The sections of a configuration, each as a table of options bound to a Config.

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/option.h"

namespace penstock::config {

OptionTable<ModelConfig> model_options();
OptionTable<DataConfig> data_options();
OptionTable<PipelineConfig> pipeline_options(const Catalogue& catalogue);
OptionTable<TrainConfig> train_options();
OptionTable<OutputConfig> output_options();

/// One section of a Config, whatever its struct: what reading and printing loop over.
struct SectionView {
  std::string name;
  std::string owner;  ///< "optimizer 'muon'" where the keys depend on it; else empty.
  /// Defaults are those in force: a preset's, or what [optimizer.fallback] and groups inherit.
  std::vector<OptionSpec> options;
  /// Stores a value that its OptionSpec has checked.
  std::function<void(std::string_view key, const Value& value)> set;
  std::function<std::optional<Value>(std::string_view key)> get;

  const OptionSpec* find(std::string_view key) const;
};

/// Names of all kinds of sections, in the order in which they are printed. "optimizer.group" is a
/// list: its sections are called optimizer.group.0, optimizer.group.1, ...; the section called
/// "optimizer.group" has the keys of all of them: 0.match, 0.name, ...
const std::vector<std::string>& section_names();

/// Names of the sections that `config` has, in the order in which they have to be read: a section's
/// options and defaults may depend on those before it. No fallback and no groups where there are
/// none.
std::vector<std::string> section_names(const Config& config);

/// "optimizer.group.3"
std::string group_name(std::size_t number);
/// The number in such a name; nothing in any other text.
std::optional<std::size_t> group_number(std::string_view name);

/// The section `name` of `config`, as its component and preset names stand now. A component that
/// `catalogue` lacks is described by the options it holds.
/// `config` outlives the view.
SectionView view_section(std::string_view name, Config& config, const Catalogue& catalogue);

/// The options [optimizer.fallback] takes over from [optimizer] unless given, where both optimizers
/// mean the same by them (ComponentSpec::has_own_lr_scale). A group whose
/// optimizer is that of [optimizer] or of [optimizer.fallback] takes over all of that section's,
/// and otherwise these of [optimizer].
const std::vector<std::string>& inherited_options();

}  // namespace penstock::config
