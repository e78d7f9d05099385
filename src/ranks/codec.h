#pragma once
// The engine's messages and events as frames.

#include <ATen/ATen.h>

#include <chrono>

#include "comm/batch_gate.h"
#include "engine/events.h"
#include "engine/executor.h"
#include "ranks/frame.h"

namespace penstock::ranks {

/// Moments travel in the time of rank 0: `ahead` is how far the clock here is ahead of its clock,
/// added when decoding and taken off when encoding.
using Ahead = std::chrono::nanoseconds;

Frame encode(const engine::Message<at::Tensor>& message, Ahead ahead);
engine::Message<at::Tensor> decode_message(const Frame& frame, Ahead ahead);

/// Errors of decoding: std::runtime_error.
Frame encode(const engine::Event& event, Ahead ahead);
engine::Event decode_event(const Frame& frame, Ahead ahead);

Frame encode(const comm::BatchGate::Decision& decision);
comm::BatchGate::Decision decode_decision(const Frame& frame);

}  // namespace penstock::ranks
