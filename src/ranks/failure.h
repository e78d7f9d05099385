#pragma once
// Why a run of several ranks ended.

#include <exception>
#include <stdexcept>
#include <string>

#include "ranks/bytes.h"

namespace penstock::ranks {

/// The first failure of a run: every rank ends with this one message.
struct Failure {
  int rank = 0;             // that failed
  bool lost = false;        // it ended without saying why
  bool user_error = false;  // the user can mend it
  std::string message;      // the finished line
};

/// The run's failure, as thrown by the ranks that did not fail themselves; a UserError where the
/// user can mend it.
struct RunFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] void throw_failure(const Failure& failure);

/// What `error` means for the whole run. Must hold an exception.
Failure failure_of(int rank, const std::exception_ptr& error);

Bytes encode(const Failure& failure);
Failure decode_failure(std::span<const std::byte> bytes);

/// Where the store keeps the first failure of an attempt.
std::string store_prefix(const std::string& attempt);
constexpr const char* failure_key = "failure";

}  // namespace penstock::ranks
