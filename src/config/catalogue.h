#pragma once
// What can be named in a configuration: optimizers, corrections and schedules. They are declared in
// folders that the configuration does not know; the program hands their list over.

#include <cstdint>
#include <functional>
#include <optional>
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
  /// A correction that needs the weights the gradient was taken at, beside the newest ones.
  bool needs_seen_weights = false;
  /// An optimizer whose lr and weight decay are on a scale of their own: no other optimizer takes
  /// them over, and it takes over no other's.
  bool has_own_lr_scale = false;
};

struct ScheduleSpec {
  std::string name;
  std::string summary;
  std::int64_t default_chunks = 1;
  /// Whether all stages' gradients of a batch are known before any of them updates. Without that
  /// there is nothing to clip by, and a tied embedding has no sum of its two gradients.
  bool updates_together = true;
  /// Whether the weights that a batch's forwards read are still there when it updates.
  bool stashes_weights = true;
  /// A complaint about a shape; empty where there is none.
  using ComplaintAboutShape = std::function<std::string(
      std::int64_t stages, std::int64_t micro_batches, std::int64_t chunks)>;
  /// Why it cannot run so: rule, values, what to set.
  ComplaintAboutShape complaint = [](auto, auto, auto) { return std::string(); };
  /// Why it has no updates without delay before and after its own, in a shape without complaint:
  /// a reason to be put behind "but".
  ComplaintAboutShape complaint_about_sync_steps = [](auto, auto, auto) { return std::string(); };
};

/// Names of grid files end with this.
inline constexpr std::string_view grid_suffix = ".grid";

/// The first entry of each list is the default. A default optimizer takes every parameter, since it
/// is also the default of [optimizer.fallback].
struct Catalogue {
  std::vector<ComponentSpec> optimizers;
  std::vector<ComponentSpec> corrections;
  std::vector<ScheduleSpec> schedules;
  /// Reads a schedule from a grid file. Errors: UserError. Without it there are no such schedules.
  std::function<ScheduleSpec(const std::string& path)> read_grid;
};

/// The component called `name`; nullptr where there is none.
const ComponentSpec* find_component(const std::vector<ComponentSpec>& components,
                                    std::string_view name);
/// The schedule with this name, or in the grid file with this path. Errors: those of read_grid.
std::optional<ScheduleSpec> find_schedule(const Catalogue& catalogue, const std::string& name);

}  // namespace penstock::config
