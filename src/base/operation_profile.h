#pragma once
// Where a thread's time goes, operation by operation.
//
// Whoever wants to know makes an OperationProfile and a Recording of it; functions that do work
// hold an OperationTimer while they do it. Timers of a thread without a recording cost one look at
// a pointer of that thread. The pointer is the thread's and not an argument, as LibTorch does it
// with its gradient mode: an argument would go through every kernel for this alone.

#include <chrono>
#include <cstdint>
#include <vector>

namespace penstock {

/// The least that an operation has to do, whatever its implementation.
struct OperationWork {
  double flops = 0;  ///< floating-point operations of its products
  double bytes = 0;  ///< memory read once and written once
};

/// Sums over calls, by the part of the program and the name of the operation. One thread.
class OperationProfile {
 public:
  struct Entry {
    const char* part;  ///< "attention", "update", ...; "" outside of any
    const char* name;
    std::int64_t calls = 0;
    double seconds = 0;  ///< without the operations that were timed inside of it
    OperationWork work = {};
  };

  /// In the order of their first call. Both texts live longer than the profile.
  const std::vector<Entry>& entries() const { return entries_; }
  void clear() { entries_.clear(); }

  /// Makes `profile` the one that this thread's timers write to, until it is destroyed.
  class Recording {
   public:
    explicit Recording(OperationProfile& profile);
    ~Recording();
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

   private:
    OperationProfile* const before_;
  };

 private:
  friend class OperationTimer;
  friend class ProgramPart;
  void add(const char* name, double seconds, const OperationWork& work);

  std::vector<Entry> entries_;
  const char* part_ = "";
  double inner_seconds_ = 0;  // of timers that ended inside of the one that runs
};

/// Adds the time from its construction to its destruction to this thread's profile, if it has one.
class OperationTimer {
 public:
  OperationTimer(const char* name, const OperationWork& work);
  ~OperationTimer() {
    if (profile_ != nullptr) stop();
  }
  OperationTimer(const OperationTimer&) = delete;
  OperationTimer& operator=(const OperationTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  void stop();

  OperationProfile* const profile_;
  const char* const name_;
  const OperationWork work_;
  double inner_before_ = 0;
  Clock::time_point start_;
};

/// Names the part of the program that this thread is in, for the timers inside.
class ProgramPart {
 public:
  explicit ProgramPart(const char* part);
  ~ProgramPart();
  ProgramPart(const ProgramPart&) = delete;
  ProgramPart& operator=(const ProgramPart&) = delete;

 private:
  OperationProfile* const profile_;
  const char* before_ = "";
};

}  // namespace penstock
