#pragma once
// What tells a file from every other: its size and a hash of its bytes.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace penstock::checkpoint {

struct Fingerprint {
  std::uint64_t bytes = 0;
  std::string xxh3;  ///< XXH3 with 64 bits and seed 0, 16 hexadecimal digits.

  bool operator==(const Fingerprint&) const = default;
};

/// Of bytes that come in pieces. Against accidents, not against an adversary.
class Fingerprinter {
 public:
  Fingerprinter();
  ~Fingerprinter();
  Fingerprinter(const Fingerprinter&) = delete;
  Fingerprinter& operator=(const Fingerprinter&) = delete;

  void add(std::span<const std::byte> bytes);
  Fingerprint result() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Fingerprint fingerprint_of(std::string_view bytes);

/// Reads the whole file, a piece at a time. Errors: std::system_error naming it.
Fingerprint fingerprint_of_file(const std::filesystem::path& file);

}  // namespace penstock::checkpoint
