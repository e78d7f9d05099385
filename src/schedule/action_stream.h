#pragma once
// The actions of one stage, produced one by one: a million-step run needs no million-step list.

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

#include "schedule/action.h"

namespace penstock::schedule {

/// A coroutine that co_yields actions. Its body runs inside next(); what it throws leaves next().
/// Arguments must be taken by value: the coroutine lives longer than its caller. Used by one
/// thread.
class [[nodiscard]] ActionStream {
 public:
  struct promise_type {
    Action action;
    std::exception_ptr failure;

    ActionStream get_return_object() { return ActionStream(Handle::from_promise(*this)); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    std::suspend_always yield_value(const Action& next) noexcept {
      action = next;
      return {};
    }
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { failure = std::current_exception(); }
  };

  ActionStream(ActionStream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  ActionStream& operator=(ActionStream&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~ActionStream() {
    if (handle_) handle_.destroy();
  }

  /// The next action; nothing at the end of the run, and from then on.
  std::optional<Action> next() {
    if (handle_.done()) return std::nullopt;
    handle_.resume();
    if (!handle_.done()) return handle_.promise().action;
    if (auto failure = std::exchange(handle_.promise().failure, nullptr)) {
      std::rethrow_exception(failure);
    }
    return std::nullopt;
  }

 private:
  using Handle = std::coroutine_handle<promise_type>;
  explicit ActionStream(Handle handle) : handle_(handle) {}
  Handle handle_;
};

/// Whether the run includes this batch. Asked at the moment a stage is about to start it, never for
/// a batch beyond the next one; may block until that is decided, so that a run can be cut short at
/// the same batch on every stage.
using HasBatch = std::function<bool(std::int64_t batch)>;

}  // namespace penstock::schedule
