#pragma once
// Where a stage's time went.

#include <vector>

#include "timeline/timeline.h"

namespace penstock::timeline {

/// Seconds by cause.
struct Usage {
  double work = 0;             // F, B, dX, dW, contribute, update, capture
  double evaluation = 0;       // evaluate, with its waits and transfers
  double wait_activation = 0;  // for the piece before
  double wait_gradient = 0;    // for the next piece
  double wait_update = 0;      // for the reduction over all stages
  double transfer = 0;         // of messages that were made but not yet here
  double blocked = 0;          // a full edge held a send up
  double idle = 0;             // none of these: gaps between spans

  double bubble() const {
    return wait_activation + wait_gradient + wait_update + transfer + blocked + idle;
  }
  /// All of it: the length of the time looked at.
  double seconds() const { return work + evaluation + bubble(); }
  /// Adds one span to its cause.
  void add(const Span& span);
  Usage& operator+=(const Usage& other);
};

/// Usage of each stage between two moments, spans cut at both; what no span covers is idle.
std::vector<Usage> usage(const Timeline& timeline, double from, double to);

}  // namespace penstock::timeline
