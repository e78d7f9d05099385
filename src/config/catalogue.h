#pragma once
// What can be named in a configuration: optimizers, corrections and schedules. They are declared in
// folders that the configuration does not know; the program hands their list over.

#include <string>
#include <string_view>
#include <vector>

#include "config/option.h"

namespace penstock::config {

/// An optimizer or a correction.
struct ComponentSpec {
  std::string name;
  std::string summary;              ///< One line for the help.
  std::string source;               ///< The paper or method it follows; may be empty.
  std::vector<OptionSpec> options;  ///< `specs()` of its OptionTable.
  /// An optimizer for matrices: the other parameters go to [optimizer.fallback].
  bool takes_matrices_only = false;
};

struct ScheduleSpec {
  std::string name;
  std::string summary;
  /// Whether a batch must have at least as many micro-batches as there are stages.
  bool needs_micro_batch_per_stage = true;
};

/// The first entry of each list is the default. A default optimizer takes every parameter, since it
/// is also the default of [optimizer.fallback].
struct Catalogue {
  std::vector<ComponentSpec> optimizers;
  std::vector<ComponentSpec> corrections;
  std::vector<ScheduleSpec> schedules;
};

/// The component called `name`; nullptr where there is none.
const ComponentSpec* find_component(const std::vector<ComponentSpec>& components,
                                    std::string_view name);
const ScheduleSpec* find_schedule(const Catalogue& catalogue, std::string_view name);

}  // namespace penstock::config
