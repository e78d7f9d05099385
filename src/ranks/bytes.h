#pragma once
// Values as bytes, for messages between processes of the same program on the same kind of machine.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace penstock::ranks {

using Bytes = std::vector<std::byte>;

template <class T>
concept Number = std::is_arithmetic_v<T> || std::is_enum_v<T>;

/// Appends numbers in the machine's own representation, and texts with their length.
class ByteWriter {
 public:
  template <Number T>
  ByteWriter& put(T value) {
    append(&value, sizeof value);
    return *this;
  }
  ByteWriter& put(std::string_view text) {
    put(static_cast<std::uint64_t>(text.size()));
    append(text.data(), text.size());
    return *this;
  }

  Bytes take() { return std::move(bytes_); }

 private:
  void append(const void* data, std::size_t size) {
    const auto* first = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), first, first + size);
  }

  Bytes bytes_;
};

/// Reads what a ByteWriter wrote, in the same order. The bytes must outlive it.
/// Errors: std::runtime_error where they end too early.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <Number T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  std::string get_text() {
    const auto size = get<std::uint64_t>();
    const auto* data = take(size);
    return {reinterpret_cast<const char*>(data), static_cast<std::size_t>(size)};
  }
  /// What has not been read.
  std::span<const std::byte> rest() const { return rest_; }

 private:
  const std::byte* take(std::uint64_t size) {
    if (size > rest_.size()) {
      throw std::runtime_error("[ranks] a message of another rank is shorter than it says");
    }
    const auto* data = rest_.data();
    rest_ = rest_.subspan(static_cast<std::size_t>(size));
    return data;
  }

  std::span<const std::byte> rest_;
};

}  // namespace penstock::ranks
