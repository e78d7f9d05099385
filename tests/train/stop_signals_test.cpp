#include "train/stop_signals.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

namespace penstock::train {
namespace {

using namespace std::chrono_literals;

bool is_blocked(int signal) {
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  return sigismember(&blocked, signal) == 1;
}

bool becomes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < 500 && !condition(); ++i) std::this_thread::sleep_for(10ms);
  return condition();
}

/// The wait status of a process that does `work` and exits with its result. A process of its own
/// since threads of other tests (LibTorch's pool) do not block the signals.
int status_of(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

/// Its exit code; 1000 + the signal that ended it.
int result_of(const std::function<int()>& work) {
  const int status = status_of(work);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

class StopSignalsOf : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Both, StopSignalsOf, testing::Values(SIGINT, SIGTERM));

TEST_P(StopSignalsOf, TheFirstOneIsOneRequestOnAnotherThread) {
  const int result = result_of([&] {
    std::atomic<int> requests = 0;
    std::atomic<bool> elsewhere = false;
    const auto self = std::this_thread::get_id();
    {
      const StopSignals signals([&] {
        elsewhere = std::this_thread::get_id() != self;
        ++requests;
      });
      kill(getpid(), GetParam());
      becomes_true([&] { return requests > 0; });
      std::this_thread::sleep_for(100ms);  // twice the time between two looks
    }
    return elsewhere ? requests.load() : 50;
  });
  EXPECT_EQ(result, 1);
}

TEST_P(StopSignalsOf, ThreadsStartedLaterAreNotInterrupted) {
  const int result = result_of([&] {
    std::atomic<int> requests = 0;
    const StopSignals signals([&] { ++requests; });
    std::atomic<bool> blocked = false;
    std::atomic<bool> go_on = true;
    std::jthread worker([&] {
      blocked = is_blocked(GetParam());
      while (go_on) std::this_thread::sleep_for(1ms);
    });
    becomes_true([&] { return blocked.load(); });
    kill(getpid(), GetParam());
    becomes_true([&] { return requests == 1; });
    go_on = false;
    return blocked && requests == 1 ? 42 : 43;
  });
  EXPECT_EQ(result, 42);
}

TEST_P(StopSignalsOf, TheSecondOneEndsTheProcess) {
  const int result = result_of([&] {
    std::atomic<int> requests = 0;
    const StopSignals signals([&] { ++requests; });
    kill(getpid(), GetParam());
    becomes_true([&] { return requests == 1; });
    kill(getpid(), GetParam());
    becomes_true([] { return false; });
    return 42;
  });
  EXPECT_EQ(result, 1000 + GetParam());
}

TEST_P(StopSignalsOf, AfterwardsTheyWorkAsBefore) {
  const int result = result_of([&] {
    {
      const StopSignals signals([] {});
    }
    if (is_blocked(GetParam())) return 43;
    kill(getpid(), GetParam());
    return 42;
  });
  EXPECT_EQ(result, 1000 + GetParam());
}

TEST(StopSignals, NothingHappensWithoutASignal) {
  const auto start = std::chrono::steady_clock::now();
  const int result = result_of([] {
    std::atomic<int> requests = 0;
    {
      const StopSignals signals([&] { ++requests; });
      std::this_thread::sleep_for(100ms);
    }
    return requests.load();
  });
  EXPECT_EQ(result, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

}  // namespace
}  // namespace penstock::train
