#include "train/catalogue.h"

#include <string>

#include "delay/registry.h"
#include "optim/registry.h"
#include "schedule/schedule.h"

namespace penstock::train {

config::Catalogue catalogue() {
  config::Catalogue all;
  for (const auto& entry : optim::registry()) all.optimizers.push_back(entry.spec);
  for (const auto& entry : delay::registry()) all.corrections.push_back(entry.spec);
  for (const auto& entry : schedule::registry()) {
    all.schedules.push_back({.name = std::string(entry.name),
                             .summary = std::string(entry.summary),
                             .needs_micro_batch_per_stage = entry.needs_micro_batch_per_stage});
  }
  return all;
}

}  // namespace penstock::train
