#include "engine/core_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "engine/pure/fake_run.h"

namespace penstock::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto until_it_waits = 20ms;

/// How many are inside at the same time, and the most so far.
class Meter {
 public:
  void enter() {
    const int inside = ++inside_;
    int most = most_;
    while (most < inside && !most_.compare_exchange_weak(most, inside)) {
    }
  }
  void leave() { --inside_; }
  int most() const { return most_; }

 private:
  std::atomic<int> inside_ = 0;
  std::atomic<int> most_ = 0;
};

TEST(CoreTokens, AreNeverMoreThanTheirNumber) {
  for (const int count : {1, 3}) {
    CoreTokens tokens(count);
    Meter meter;
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 8; ++t) {
        threads.emplace_back([&, t] {
          for (int i = 0; i < 2000; ++i) {
            if ((i + t) % 3 > 0 || !tokens.try_acquire()) tokens.acquire();
            meter.enter();
            if (i % 64 == 0) std::this_thread::yield();
            meter.leave();
            tokens.release();
          }
        });
      }
    }
    EXPECT_LE(meter.most(), count);
    for (int i = 0; i < count; ++i) EXPECT_TRUE(tokens.try_acquire()) << "all came back";
    EXPECT_FALSE(tokens.try_acquire());
  }
}

TEST(CoreTokens, GoToThoseWhoWaitInTheOrderInWhichTheyAsked) {
  CoreTokens tokens(1);
  tokens.acquire();
  std::vector<int> order;  // guarded by the token
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        tokens.acquire();
        order.push_back(t);
        tokens.release();
      });
      std::this_thread::sleep_for(until_it_waits);
    }
    EXPECT_TRUE(order.empty());
    tokens.release();
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(CoreTokens, AreHandedOverPastThoseWhoAskNow) {
  CoreTokens tokens(1);
  tokens.acquire();
  std::atomic<bool> leave = false;
  std::jthread waiter([&] {
    tokens.acquire();
    leave.wait(false);
    tokens.release();
  });
  std::this_thread::sleep_for(until_it_waits);
  tokens.release();
  EXPECT_FALSE(tokens.try_acquire()) << "the waiter has it, even if it is not awake yet";
  leave = true;
  leave.notify_all();
}

TEST(CoreTokens, CloseWakesEverybody) {
  CoreTokens tokens(1);
  tokens.acquire();
  std::atomic<int> woken = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        EXPECT_THROW(tokens.acquire(), comm::Closed);
        ++woken;
      });
    }
    std::this_thread::sleep_for(until_it_waits);
    EXPECT_EQ(woken, 0);
    tokens.close();
  }
  EXPECT_EQ(woken, 4);
  tokens.release();
  EXPECT_THROW(tokens.acquire(), comm::Closed);
  EXPECT_FALSE(tokens.try_acquire());
}

TEST(CoreTokens, AreHeldByStagesThatWorkAndByNoMore) {
  for (const auto* name : {"2bw", "zb-v"}) {
    const int chunks = schedule::find(name).default_chunks;
    const tests::FakeRun run{
        .schedule = name, .shape = {6, 6, chunks}, .batches = 4, .evaluation = {2, 2}};
    for (const int cores : {1, 2, 4}) {
      Meter meter;
      tests::RunOptions options{.cores = cores};
      options.in_action = [&](int, const schedule::Action& action) {
        if (schedule::is_waiting(action.kind)) return;
        meter.enter();
        std::this_thread::sleep_for(20us);
        meter.leave();
      };
      tests::run_fake(run, options);
      EXPECT_LE(meter.most(), cores) << name;
      EXPECT_GE(meter.most(), std::min(cores, 2)) << name;
    }
  }
}

}  // namespace
}  // namespace penstock::engine
