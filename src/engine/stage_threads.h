#pragma once
// A pipeline of stages in one process: a pinned thread per stage, channels between neighbours.

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/channel.h"
#include "engine/executor.h"
#include "schedule/lowering.h"

namespace penstock::engine {

/// The channels between neighbouring pieces of the model, one each for activations, gradients and
/// evaluations.
template <class Payload>
class Edges {
 public:
  Edges(schedule::PipelineShape shape, schedule::Placement placement)
      : shape_(shape), placement_(placement) {
    for (int piece = 0; piece + 1 < shape.pieces(); ++piece) {
      activations_.emplace_back(schedule::edge_capacity);
      gradients_.emplace_back(schedule::edge_capacity);
      evaluations_.emplace_back(schedule::evaluation_edge_capacity(shape));
    }
  }

  /// The channels at the stage's end, by chunk.
  std::vector<Links<Payload>> links_of(int stage) {
    std::vector<Links<Payload>> links(static_cast<std::size_t>(shape_.chunks));
    for (int chunk = 0; chunk < shape_.chunks; ++chunk) {
      const auto piece =
          static_cast<std::size_t>(schedule::piece_at(placement_, shape_, {stage, chunk}));
      auto& link = links[static_cast<std::size_t>(chunk)];
      if (piece > 0) {
        link.activations_in = &activations_[piece - 1];
        link.gradients_out = &gradients_[piece - 1];
        link.evaluations_in = &evaluations_[piece - 1];
      }
      if (piece < activations_.size()) {
        link.activations_out = &activations_[piece];
        link.gradients_in = &gradients_[piece];
        link.evaluations_out = &evaluations_[piece];
      }
    }
    return links;
  }

  /// One line for every channel in which messages wait.
  std::string waiting_messages() const {
    std::string text;
    const auto add = [&](const char* what, const std::deque<Edge>& edges) {
      for (std::size_t piece = 0; piece < edges.size(); ++piece) {
        const auto waiting = edges[piece].waiting();
        if (waiting == 0) continue;
        text += fmt::format("  {} between pieces {} and {}: {} of {} wait\n", what, piece,
                            piece + 1, waiting, edges[piece].capacity());
      }
    };
    add("activations", activations_);
    add("gradients", gradients_);
    add("evaluations", evaluations_);
    return text.empty() ? "  all channels are empty\n" : text;
  }

  void close() {
    for (auto* edges : {&activations_, &gradients_, &evaluations_}) {
      for (auto& edge : *edges) edge.close();
    }
  }

 private:
  using Edge = typename Links<Payload>::Edge;
  schedule::PipelineShape shape_;
  schedule::Placement placement_;
  std::deque<Edge> activations_;
  std::deque<Edge> gradients_;
  std::deque<Edge> evaluations_;
};

/// The stages of this process and what each is to do. Vectors and deques have one entry per stage.
template <class Payload>
struct StageThreads {
  std::vector<Stage<Payload>*> stages;
  std::vector<schedule::ActionStream> streams;  // with transfers
  Edges<Payload>* edges = nullptr;
  int rank = 0;
  int first_stage = 0;  // number of the first of `stages` in the pipeline
  bool same_versions = true;
  std::int64_t cut = 0;                         // the stages have W(cut)
  std::chrono::steady_clock::time_point start;  // second 0 of all spans
  std::deque<StageMonitor>* monitors = nullptr;
  std::deque<SpanRecorder>* recorders = nullptr;   // null: nothing is recorded
  std::deque<StageProfiler>* profilers = nullptr;  // null: no operation is timed
  CoreTokens* cores = nullptr;                     // null: one for every stage
  std::function<void(int stage, const schedule::Action&)> before_action;
  std::function<void(int)> on_thread = [](int) {};  // first on each thread: pinning and the like
  std::function<void()> close = [] {};              // wakes what waits outside of the channels
};

/// Runs every stage over its stream, each on its own thread, until all streams end. On the first
/// failure every edge is closed and `close` is called so that nobody is left waiting; all threads
/// are joined, then that failure is thrown; where others have closed, comm::Closed is.
template <class Payload>
void run_stage_threads(StageThreads<Payload> run) {
  std::mutex mutex;
  std::exception_ptr failure;
  std::exception_ptr closed;
  const auto end_all = [&] {
    run.edges->close();
    if (run.cores) run.cores->close();
    run.close();
  };
  const auto fail = [&](std::exception_ptr error) {
    {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::move(error);
    }
    end_all();
  };

  const auto run_stage = [&](std::size_t i) {
    const int number = run.first_stage + static_cast<int>(i);
    try {
      run.on_thread(number);
      Executor<Payload> executor(*run.stages[i],
                                 {.rank = run.rank,
                                  .number = number,
                                  .links = run.edges->links_of(number),
                                  .same_versions = run.same_versions,
                                  .cut = run.cut,
                                  .start = run.start,
                                  .monitor = &(*run.monitors)[i],
                                  .recorder = run.recorders ? &(*run.recorders)[i] : nullptr,
                                  .profiler = run.profilers ? &(*run.profilers)[i] : nullptr,
                                  .cores = run.cores,
                                  .before_action = run.before_action});
      executor.run(run.streams[i]);
    } catch (const comm::Closed&) {
      // Some other stage failed first and is the one to report.
      const std::lock_guard lock(mutex);
      closed = std::current_exception();
    } catch (...) {
      fail(std::current_exception());
    }
  };

  {
    std::vector<std::jthread> threads;
    try {
      for (std::size_t i = 0; i < run.stages.size(); ++i) threads.emplace_back(run_stage, i);
    } catch (...) {
      fail(std::current_exception());  // the system has no thread left: end those that run
    }
  }
  if (run.recorders) {
    for (auto& recorder : *run.recorders) recorder.flush();  // of a failed run above all
  }
  if (failure) std::rethrow_exception(failure);
  if (closed) std::rethrow_exception(closed);
}

}  // namespace penstock::engine
