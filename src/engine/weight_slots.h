#pragma once
// Weight versions in a fixed number of slots: readers are counted, the writer is alone.

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace penstock::engine {

/// A read or write that the version rules forbid: a bug in a schedule or in the engine.
struct VersionError : std::logic_error {
  using std::logic_error::logic_error;
};

/// Version v lives in slot v mod n. Opening version v + 1 for writing takes the slot of v + 1 - n,
/// which must have no readers; publishing makes it the newest. Nothing is copied.
/// Used by the thread of one stage. Leases must not outlive the slots.
template <class T>
class WeightSlots {
  struct Slot;

 public:
  /// Keeps one slot readable while it lives.
  class ReadLease {
   public:
    ReadLease(ReadLease&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
    ReadLease& operator=(ReadLease&& other) noexcept {
      std::swap(slot_, other.slot_);
      return *this;
    }
    ~ReadLease() {
      if (slot_ != nullptr) --slot_->readers;
    }
    const T& operator*() const { return slot_->value; }
    const T* operator->() const { return &slot_->value; }
    std::int64_t version() const { return slot_->version; }

   private:
    friend class WeightSlots;
    explicit ReadLease(Slot* slot) : slot_(slot) { ++slot_->readers; }
    Slot* slot_;
  };

  /// The next version under construction. Without publish() the version stays unreadable.
  class WriteLease {
   public:
    T& next() { return slots_->slot_of(version_).value; }
    /// The newest published version; the same object as next() when there is one slot.
    const T& newest() const { return slots_->slot_of(version_ - 1).value; }
    void publish() {
      slots_->slot_of(version_).version = version_;
      slots_->newest_ = version_;
    }

   private:
    friend class WeightSlots;
    WriteLease(WeightSlots* slots, std::int64_t version) : slots_(slots), version_(version) {}
    WeightSlots* slots_;
    std::int64_t version_;
  };

  /// `values[0]` holds version 0; there is one slot per value.
  explicit WeightSlots(std::vector<T> values) {
    for (auto& value : values) slots_.push_back({std::move(value)});
    slots_.at(0).version = 0;
  }
  WeightSlots(const WeightSlots&) = delete;
  WeightSlots& operator=(const WeightSlots&) = delete;

  std::int64_t newest() const { return newest_; }

  /// The versions that can be read, ascending.
  std::vector<std::int64_t> versions() const {
    std::vector<std::int64_t> result;
    for (const Slot& slot : slots_) {
      if (slot.version != nothing) result.push_back(slot.version);
    }
    std::ranges::sort(result);
    return result;
  }

  /// A published version, for a look that ends before the slots are used again.
  const T& peek(std::int64_t version) const {
    for (const Slot& slot : slots_) {
      if (slot.version == version) return slot.value;
    }
    throw VersionError(fmt::format("weights W({}) are asked for, but no slot holds them", version));
  }

  /// Makes exactly `versions` readable; `fill(version, value)` gives each its value. Nobody reads.
  template <class Fill>
  void restore(const std::vector<std::int64_t>& versions, Fill&& fill) {
    for (Slot& slot : slots_) slot.version = nothing;
    for (const std::int64_t version : versions) {
      Slot& slot = slot_of(version);
      if (slot.version != nothing || slot.readers > 0) {
        throw VersionError(
            fmt::format("weights W({}) are to be restored into a slot that is taken", version));
      }
      fill(version, slot.value);
      slot.version = version;
      newest_ = std::max(newest_, version);
    }
  }

  ReadLease read(std::int64_t version) {
    Slot& slot = slot_of(version);
    if (slot.version != version) {
      throw VersionError(fmt::format("weights W({}) are asked for, but their slot holds {}",
                                     version, held_by(slot)));
    }
    return ReadLease(&slot);
  }

  WriteLease write(std::int64_t version) {
    if (version != newest_ + 1) {
      throw VersionError(fmt::format("weights W({}) are to be written, but the newest are W({})",
                                     version, newest_));
    }
    Slot& slot = slot_of(version);
    if (slot.readers > 0) {
      throw VersionError(fmt::format("weights W({}) are to overwrite {}, which has {} readers",
                                     version, held_by(slot), slot.readers));
    }
    slot.version = nothing;
    return WriteLease(this, version);
  }

 private:
  static constexpr std::int64_t nothing = -1;
  struct Slot {
    T value;
    std::int64_t version = nothing;
    int readers = 0;
  };

  Slot& slot_of(std::int64_t version) {
    if (version < 0) throw VersionError(fmt::format("there are no weights W({})", version));
    return slots_[static_cast<std::size_t>(version) % slots_.size()];
  }
  static std::string held_by(const Slot& slot) {
    return slot.version == nothing ? std::string("nothing") : fmt::format("W({})", slot.version);
  }

  std::vector<Slot> slots_;
  std::int64_t newest_ = 0;
};

}  // namespace penstock::engine
