#pragma once
// Which of several processes this one is, as launchers tell it.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace penstock::ranks {

/// A run of `size` processes. Ranks of one host are consecutive.
struct Environment {
  int rank = 0;
  int size = 1;
  int local_rank = 0;   // among the ranks of this host
  int local_size = 1;   // ranks of this host
  std::string address;  // of the store, where ranks find each other
  std::uint16_t port = 0;
  /// The store lives in the launcher and not in rank 0, so it outlives every rank.
  bool launcher_has_store = false;
  /// Tells the attempts of a launcher that restarts failed runs apart.
  std::string attempt = "0";
};

/// The value of an environment variable, none where it is not set.
using Lookup = std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> environment_variable(const std::string& name);

/// WORLD_SIZE, RANK, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT and
/// TORCHELASTIC_USE_AGENT_STORE as torchrun and penstock launch set them; none where WORLD_SIZE is
/// not set or 1. Errors: UserError.
std::optional<Environment> read_environment(const Lookup& lookup = environment_variable);

}  // namespace penstock::ranks
