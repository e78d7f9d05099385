#pragma once
// Short names for the actions that generators yield.

#include "schedule/action.h"

namespace penstock::schedule::compute {

inline Action forward(std::int64_t batch, std::int64_t micro_batch, std::int64_t version,
                      std::int32_t chunk = 0) {
  return {ActionKind::forward, batch, micro_batch, version, chunk};
}
inline Action backward(std::int64_t batch, std::int64_t micro_batch, std::int64_t version,
                       std::int32_t chunk = 0) {
  return {ActionKind::backward, batch, micro_batch, version, chunk};
}
inline Action backward_input(std::int64_t batch, std::int64_t micro_batch, std::int64_t version,
                             std::int32_t chunk = 0) {
  return {ActionKind::backward_input, batch, micro_batch, version, chunk};
}
inline Action backward_weight(std::int64_t batch, std::int64_t micro_batch, std::int64_t version,
                              std::int32_t chunk = 0) {
  return {ActionKind::backward_weight, batch, micro_batch, version, chunk};
}
// The version of the three below: the one that the batch's update writes.
inline Action contribute(std::int64_t batch) {
  return {ActionKind::contribute, batch, 0, batch + 1};
}
inline Action await_reduction(std::int64_t batch) {
  return {ActionKind::await_reduction, batch, 0, batch + 1};
}
inline Action update(std::int64_t batch) { return {ActionKind::update, batch, 0, batch + 1}; }

}  // namespace penstock::schedule::compute
