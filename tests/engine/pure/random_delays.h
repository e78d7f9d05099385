#pragma once
// Disturbs every action of every stage by a random delay.

#include <chrono>
#include <cstdint>
#include <deque>
#include <random>
#include <thread>

#include "schedule/action.h"

namespace penstock::tests {

/// Most actions are not delayed, some yield or spin, a few sleep, and one in some hundred for long.
/// Every stage draws from its own numbers, which follow from the seed.
class RandomDelays {
 public:
  RandomDelays(std::uint64_t seed, int stages) {
    for (int s = 0; s < stages; ++s) {
      random_.emplace_back(seed * 1000 + static_cast<std::uint64_t>(s));
    }
  }

  void operator()(int stage, const schedule::Action&) {
    using std::chrono::microseconds;
    const std::uint64_t draw = random_[static_cast<std::size_t>(stage)]();
    const auto length = static_cast<std::int64_t>(draw >> 32);
    switch (draw % 256) {
      case 0:
        std::this_thread::sleep_for(microseconds(100 + length % 300));
        break;
      case 1:
      case 2:
      case 3:
        std::this_thread::sleep_for(microseconds(length % 20));
        break;
      default:
        if (draw % 8 == 0) std::this_thread::yield();
        if (draw % 8 == 4) spin(microseconds(length % 4));
    }
  }

 private:
  static void spin(std::chrono::microseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
    }
  }

  std::deque<std::mt19937_64> random_;
};

}  // namespace penstock::tests
