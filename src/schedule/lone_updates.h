#pragma once
// Schedules whose pipeline is never flushed and whose stages update on their own, each as soon as
// its backwards of a batch are done.

#include <string>

#include "schedule/schedule.h"

namespace penstock::schedule {

enum class BackwardReads { weights_of_its_forward, newest_weights };

/// Stage s runs w = d-1-s forwards ahead and each reads the newest weights: micro-batch i, counted
/// over the run, reads W(floor(max(i - w, 0) / m)).
Schedule with_lone_updates(std::string name, std::string summary, BackwardReads reads);

}  // namespace penstock::schedule
