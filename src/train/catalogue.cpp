#include "train/catalogue.h"

#include <string>

#include "delay/registry.h"
#include "optim/registry.h"
#include "schedule/grid_file.h"
#include "schedule/schedule.h"
#include "schedule/sync_phases.h"

namespace penstock::train {
namespace {

static_assert(config::grid_suffix == schedule::grid_suffix);

config::ScheduleSpec spec_of(const schedule::Schedule& schedule) {
  return {.name = schedule.name,
          .summary = schedule.summary,
          .default_chunks = schedule.default_chunks,
          .updates_together = schedule.updates_together,
          .stashes_weights = schedule.stashes_weights,
          .complaint =
              [schedule](auto stages, auto micro_batches, auto chunks) {
                return schedule::complaint_about(schedule, stages, micro_batches, chunks);
              },
          .complaint_about_sync_steps =
              [schedule](auto stages, auto micro_batches, auto chunks) {
                return schedule::complaint_about_sync_phases(
                    schedule, {static_cast<int>(stages), static_cast<int>(micro_batches),
                               static_cast<int>(chunks)});
              }};
}

}  // namespace

config::Catalogue catalogue() {
  config::Catalogue all;
  for (const auto& entry : optim::registry()) all.optimizers.push_back(entry.spec);
  for (const auto& entry : delay::registry()) all.corrections.push_back(entry.spec);
  for (const auto& schedule : schedule::registry()) all.schedules.push_back(spec_of(schedule));
  all.read_grid = [](const std::string& path) { return spec_of(schedule::load(path)); };
  return all;
}

}  // namespace penstock::train
