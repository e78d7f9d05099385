#include "base/operation_profile.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace penstock {
namespace {

thread_local OperationProfile* current = nullptr;

bool same(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }

}  // namespace

OperationProfile::Recording::Recording(OperationProfile& profile)
    : before_(std::exchange(current, &profile)) {}

OperationProfile::Recording::~Recording() { current = before_; }

void OperationProfile::add(const char* name, double seconds, const OperationWork& work) {
  auto entry = std::ranges::find_if(
      entries_, [&](const Entry& e) { return same(e.name, name) && same(e.part, part_); });
  if (entry == entries_.end()) entry = entries_.insert(entry, Entry{.part = part_, .name = name});
  ++entry->calls;
  entry->seconds += seconds;
  entry->work.flops += work.flops;
  entry->work.bytes += work.bytes;
}

OperationTimer::OperationTimer(const char* name, const OperationWork& work)
    : profile_(current), name_(name), work_(work) {
  if (profile_ == nullptr) return;
  inner_before_ = std::exchange(profile_->inner_seconds_, 0);
  start_ = Clock::now();
}

void OperationTimer::stop() {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  profile_->add(name_, seconds - profile_->inner_seconds_, work_);
  profile_->inner_seconds_ = inner_before_ + seconds;
}

ProgramPart::ProgramPart(const char* part) : profile_(current) {
  if (profile_ != nullptr) before_ = std::exchange(profile_->part_, part);
}

ProgramPart::~ProgramPart() {
  if (profile_ != nullptr) profile_->part_ = before_;
}

}  // namespace penstock
