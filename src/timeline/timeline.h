#pragma once
// What every stage did and when: planned by the simulator or measured by the engine.

#include <string>
#include <vector>

#include "schedule/action.h"
#include "schedule/placement.h"

namespace penstock::timeline {

/// One action of a stage. Seconds since the start of the run.
struct Span {
  schedule::Action action;
  double begin = 0;
  double end = 0;
  /// Of a receive: the last part of it, in which the message was made and under way; before that
  /// the stage waited for its sender.
  double transfer = 0;

  double seconds() const { return end - begin; }
};

struct Timeline {
  std::string schedule;
  schedule::PipelineShape shape;
  schedule::Placement placement = schedule::Placement::loop;
  std::vector<std::vector<Span>> stages;  // in the order of time; gaps are allowed
};

}  // namespace penstock::timeline
