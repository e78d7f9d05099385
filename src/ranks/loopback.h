#pragma once
// Sockets that only this host can reach.

#include <cstdint>
#include <string>

namespace penstock::ranks {

bool is_loopback(const std::string& address);

struct ListeningSocket {
  int descriptor = -1;  // the receiver closes it
  std::uint16_t port = 0;
};

/// Listens on 127.0.0.1, on a free port where `port` is 0. c10d would listen on every address, and
/// then ask the name service for each client's name, which can take seconds where there is none.
/// Errors: std::system_error.
ListeningSocket listen_on_loopback(std::uint16_t port);

}  // namespace penstock::ranks
