#include "engine/pinning.h"

#include <pthread.h>
#include <sched.h>

#include <cstddef>

namespace penstock::engine {

std::vector<int> usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<std::size_t>(core), &set)) cores.push_back(core);
  }
  return cores;
}

std::vector<int> cores_of_stage(const std::vector<int>& cores, int stage, int stages, int threads) {
  const auto share = static_cast<std::size_t>(threads);
  if (static_cast<std::size_t>(stages) * share > cores.size()) return cores;
  const auto first = cores.begin() + static_cast<std::ptrdiff_t>(stage) * threads;
  return {first, first + threads};
}

void pin_this_thread(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(static_cast<std::size_t>(core), &set);
  ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

}  // namespace penstock::engine
