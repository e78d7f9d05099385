#include "train/stop_signals.h"

#include <csignal>
#include <ctime>

namespace penstock::train {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  return set;
}

/// The next signal, or 0 after a short while without one.
int poll_signal() {
  const sigset_t set = stop_signals();
  const timespec patience{.tv_sec = 0, .tv_nsec = 50'000'000};
  const int signal = sigtimedwait(&set, nullptr, &patience);
  return signal > 0 ? signal : 0;
}

void die_of(int signal) {
  std::signal(signal, SIG_DFL);
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  std::raise(signal);
}

}  // namespace

StopSignals::StopSignals(std::function<void()> on_stop) {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  watcher_ = std::jthread([on_stop = std::move(on_stop)](const std::stop_token& ended) {
    bool requested = false;
    while (!ended.stop_requested()) {
      const int signal = poll_signal();
      if (signal == 0) continue;
      if (requested) die_of(signal);
      requested = true;
      on_stop();
    }
  });
}

StopSignals::~StopSignals() {
  watcher_.request_stop();
  watcher_.join();
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace penstock::train
