#include "train/side_by_side.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

namespace penstock::train {
namespace {

using namespace std::chrono_literals;

TEST(SideBySide, CountsCallsPerSecondOfOneWorker) {
  for (const int count : {1, 3}) {
    const double rate =
        calls_per_second({count, 1}, 0.06, [] { return [] { std::this_thread::sleep_for(4ms); }; });
    EXPECT_LE(rate, 250);  // a sleep is never shorter
    EXPECT_GT(rate, 10);
  }
}

TEST(SideBySide, MakesTheWorkOnceOnEveryWorkersThread) {
  std::mutex mutex;
  std::set<std::thread::id> makers;
  std::set<std::thread::id> workers;
  std::atomic<int> made = 0;
  calls_per_second({3, 2}, 0.001, [&] {
    ++made;
    const std::lock_guard lock(mutex);
    makers.insert(std::this_thread::get_id());
    EXPECT_EQ(at::get_num_threads(), 2);
    EXPECT_FALSE(c10::GradMode::is_enabled());
    return [&] {
      const std::lock_guard inner(mutex);
      workers.insert(std::this_thread::get_id());
    };
  });
  EXPECT_EQ(made, 3);
  EXPECT_EQ(makers.size(), 3u);
  EXPECT_EQ(workers, makers);
}

TEST(SideBySide, WorksAtLeastOncePerRoundBesideTheWarmUp) {
  std::atomic<int> calls = 0;
  calls_per_second({1, 1}, 0, [&] { return [&] { ++calls; }; });
  EXPECT_EQ(calls, 4);
}

TEST(SideBySide, AFailureEndsAllWorkersAndIsThrown) {
  std::atomic<int> made = 0;
  EXPECT_THROW(calls_per_second({2, 1}, 0.001,
                                [&]() -> std::function<void()> {
                                  if (++made == 1) throw std::runtime_error("no memory");
                                  return [] {};
                                }),
               std::runtime_error);
}

}  // namespace
}  // namespace penstock::train
