#pragma once
// What a pipeline needs of the other processes of its run, if there are any.

#include <ATen/ATen.h>

#include <chrono>
#include <exception>
#include <functional>
#include <vector>

#include "comm/batch_gate.h"
#include "comm/reduction.h"
#include "engine/events.h"
#include "engine/named_tensor.h"
#include "engine/stage_threads.h"
#include "schedule/placement.h"

namespace penstock::engine {

/// A run's processes are its ranks; each has a consecutive share of the stages, rank 0 the first
/// one. Rank 0 decides on batches and gets all events and weights. A stage knows only the channels,
/// the gate and the reduction of its own process: this class keeps them in step with the others'.
/// Used by the thread that builds and runs the pipeline, except where said otherwise.
///
///   exchange(), sink()            while the pipeline is built
///   begin()                       before its threads start
///   give_weights() of each piece  once they have ended without a failure
///   end()                         always, after begin()
///   weights_of()                  on rank 0, after that
class Ranks {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Share {
    int first = 0;  // stage
    int count = 0;

    bool has(int stage) const { return stage >= first && stage < first + count; }
  };
  struct Run {
    Edges<at::Tensor>* edges = nullptr;  // of the whole pipeline
    schedule::PipelineShape shape;
    schedule::Placement placement = schedule::Placement::loop;
    comm::BatchGate* gate = nullptr;
    /// Closes edges, gate, reduction and what else stages wait for. Called on any thread, when
    /// another rank ends early.
    std::function<void()> close;
  };

  virtual ~Ranks() = default;

  virtual int rank() const = 0;
  virtual Share stages_here() const = 0;
  /// Of all ranks on this host, which share its cores.
  virtual Share stages_on_host() const = 0;

  /// For the reduction of this rank's stages.
  virtual comm::Reduction::Exchange exchange(std::size_t tied_parameter) = 0;
  /// What the stages of this rank report to: on rank 0 `local`, which also gets what the other
  /// ranks report. Any thread may call it until end().
  virtual EventSink sink(EventSink local) = 0;

  /// Waits until every rank is here. Returns second 0 of the run, the same moment on all ranks.
  /// `run` must live until end(). Errors: those of end().
  virtual Time begin(Run run) = 0;

  /// The final weights of a piece that this rank holds.
  virtual void give_weights(int piece, std::vector<NamedTensor> weights) = 0;

  /// Without a failure: returns when every message, event and weight has arrived on its rank. With
  /// one: ends the run on all ranks. Errors: the first failure of all ranks, `failure` itself where
  /// it is this rank's.
  virtual void end(std::exception_ptr failure) = 0;

  /// What other ranks gave; on rank 0, for pieces that it does not hold.
  virtual std::vector<NamedTensor> weights_of(int piece) const = 0;
};

}  // namespace penstock::engine
