#pragma once
// A pipeline of stages in one process: a pinned thread per stage, channels between neighbours.

#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/channel.h"
#include "engine/executor.h"

namespace penstock::engine {

/// Messages that may wait on an edge. Two let a sender go on while its neighbour is still busy;
/// more would only add memory, since every schedule bounds what is in flight.
constexpr std::size_t edge_capacity = 2;

/// Runs `stages[i]` over `streams[i]`, each on its own thread, until all streams end.
/// `on_thread(i)` is called first on each thread (pinning, thread counts). On the first failure
/// every edge is closed and `close` is called so that nobody is left waiting; all threads are
/// joined, then that failure is thrown. `clocks` needs one entry per stage.
template <class Payload>
void run_stage_threads(const std::vector<Stage<Payload>*>& stages,
                       std::vector<schedule::StreamPtr> streams, std::deque<StageClock>& clocks,
                       const std::function<void(int)>& on_thread,
                       const std::function<void()>& close) {
  using Edge = typename Links<Payload>::Edge;
  std::deque<Edge> activations;
  std::deque<Edge> gradients;
  for (std::size_t i = 0; i + 1 < stages.size(); ++i) {
    activations.emplace_back(edge_capacity);
    gradients.emplace_back(edge_capacity);
  }

  std::mutex mutex;
  std::exception_ptr failure;
  const auto fail = [&](std::exception_ptr error) {
    {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::move(error);
    }
    for (auto& edge : activations) edge.close();
    for (auto& edge : gradients) edge.close();
    close();
  };

  const auto run = [&](std::size_t i) {
    Links<Payload> links;
    if (i > 0) links.activations_in = &activations[i - 1];
    if (i > 0) links.gradients_out = &gradients[i - 1];
    if (i + 1 < stages.size()) links.activations_out = &activations[i];
    if (i + 1 < stages.size()) links.gradients_in = &gradients[i];
    try {
      on_thread(static_cast<int>(i));
      Executor<Payload>(static_cast<int>(i), *stages[i], links, clocks[i]).run(*streams[i]);
    } catch (const comm::Closed&) {
      // Some other stage failed first and is the one to report.
    } catch (...) {
      fail(std::current_exception());
    }
  };

  {
    std::vector<std::jthread> threads;
    try {
      for (std::size_t i = 0; i < stages.size(); ++i) threads.emplace_back(run, i);
    } catch (...) {
      fail(std::current_exception());  // the system has no thread left: end those that run
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace penstock::engine
