#pragma once
// Several ranks as threads of the test: the same connections as between processes.

#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "ranks/group.h"
#include "ranks/store_host.h"

namespace penstock::tests {

inline ranks::Group::Setup setup_of_rank(const ranks::StoreHost& store, int rank, int size) {
  return {.environment = {.rank = rank,
                          .size = size,
                          .local_rank = rank,
                          .local_size = size,
                          .address = "127.0.0.1",
                          .port = store.port(),
                          .launcher_has_store = true},
          .patience = std::chrono::milliseconds(100)};
}

/// Runs `rank` for every rank at once and returns what each threw, null where it returned. A group
/// is destroyed as soon as its function has ended.
inline std::vector<std::exception_ptr> run_ranks(int size,
                                                 const std::function<void(ranks::Group&)>& rank) {
  const ranks::StoreHost store;
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
  {
    std::vector<std::jthread> threads;
    for (int r = 0; r < size; ++r) {
      threads.emplace_back([&, r] {
        try {
          ranks::Group group(setup_of_rank(store, r, size));
          rank(group);
        } catch (...) {
          errors[static_cast<std::size_t>(r)] = std::current_exception();
        }
      });
    }
  }
  return errors;
}

inline std::string message_of(const std::exception_ptr& error) {
  if (!error) return "";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& cause) {
    return cause.what();
  }
}

/// For ranks none of which may fail.
inline void run_ranks_well(int size, const std::function<void(ranks::Group&)>& rank) {
  for (const auto& error : run_ranks(size, rank)) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace penstock::tests
