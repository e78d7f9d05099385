#pragma once
// The store in which ranks find each other, hosted by the process that starts them.

#include <cstdint>
#include <memory>
#include <optional>

#include "ranks/failure.h"

namespace penstock::ranks {

/// Lives as long as the object, and so longer than every rank: what failed can be told even where
/// rank 0 was killed. Used by one thread.
class StoreHost {
 public:
  /// On a free port of this host, which nobody else can take in between. Errors: std::exception.
  StoreHost();
  ~StoreHost();

  std::uint16_t port() const;
  /// Makes `failure` that of the run unless there is one.
  void fail(const Failure& failure);
  std::optional<Failure> failure() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace penstock::ranks
