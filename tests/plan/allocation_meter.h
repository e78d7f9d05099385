#pragma once
// Counts the bytes that LibTorch allocates.

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace penstock::tests {

/// What this thread has allocated since the meter was made, less what it has freed, and the most
/// that was. Counts while the meter lives; one at a time on a thread.
class AllocationMeter {
 public:
  AllocationMeter()
      : counter_(std::make_shared<Counter>()),
        guard_(c10::DebugInfoKind::PROFILER_STATE, counter_) {}

  std::int64_t bytes() const { return counter_->bytes; }
  std::int64_t peak() const { return counter_->peak; }
  /// Forgets the peak so far.
  void restart_peak() { counter_->peak = counter_->bytes; }

 private:
  struct Counter final : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t,
                           c10::Device) override {
      bytes += size;
      peak = std::max(peak, bytes);
    }
    bool memoryProfilingEnabled() const override { return true; }

    std::int64_t bytes = 0;
    std::int64_t peak = 0;
  };

  std::shared_ptr<Counter> counter_;
  c10::DebugInfoGuard guard_;
};

}  // namespace penstock::tests
