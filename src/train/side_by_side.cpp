#include "train/side_by_side.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/pinning.h"

namespace penstock::train {
namespace {

constexpr std::size_t round_count = 3;
using Rates = std::array<double, round_count>;

double rate_of(const std::function<void()>& work, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  double elapsed = 0;
  std::int64_t calls = 0;
  while (elapsed < seconds || calls == 0) {
    work();
    ++calls;
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  return static_cast<double>(calls) / elapsed;
}

double best_mean(const std::vector<Rates>& rates) {
  double best = 0;
  for (std::size_t round = 0; round < round_count; ++round) {
    double sum = 0;
    for (const Rates& worker : rates) sum += worker[round];
    best = std::max(best, sum / static_cast<double>(rates.size()));
  }
  return best;
}

}  // namespace

Workers all_cores(int threads) {
  return {std::max(1, static_cast<int>(engine::usable_cores().size()) / threads), threads};
}

double calls_per_second(const Workers& workers, double seconds,
                        const std::function<std::function<void()>()>& make) {
  const auto cores = engine::usable_cores();
  std::vector<Rates> rates(static_cast<std::size_t>(workers.count));
  std::barrier start(workers.count);
  std::mutex mutex;
  std::exception_ptr failure;
  const auto measure = [&](int worker) {
    engine::pin_this_thread(engine::cores_of_stage(cores, worker, workers.count, workers.threads));
    at::set_num_threads(workers.threads);
    c10::GradMode::set_enabled(false);
    const auto work = make();
    work();
    for (double& rate : rates[static_cast<std::size_t>(worker)]) {
      start.arrive_and_wait();
      rate = rate_of(work, seconds / round_count);
    }
  };
  {
    std::vector<std::jthread> threads;
    const auto run = [&](int worker) {
      try {
        measure(worker);
      } catch (...) {
        start.arrive_and_drop();  // the others go on without it
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
      }
    };
    try {
      for (int worker = 0; worker < workers.count; ++worker) threads.emplace_back(run, worker);
    } catch (...) {  // the system has no thread left: those that run must not wait for the others
      for (auto missing = std::ssize(threads); missing < workers.count; ++missing) {
        start.arrive_and_drop();
      }
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  return best_mean(rates);
}

}  // namespace penstock::train
