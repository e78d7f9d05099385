#include "checkpoint/fingerprint.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <system_error>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace penstock::checkpoint {
namespace {

constexpr std::size_t piece = std::size_t{1} << 20;

}  // namespace

struct Fingerprinter::State {
  XXH3_state_t hash;
  std::uint64_t bytes = 0;
};

Fingerprinter::Fingerprinter() : state_(new State) { XXH3_64bits_reset(&state_->hash); }

Fingerprinter::~Fingerprinter() = default;

void Fingerprinter::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->hash, bytes.data(), bytes.size());
  state_->bytes += bytes.size();
}

Fingerprint Fingerprinter::result() const {
  return {state_->bytes, fmt::format("{:016x}", XXH3_64bits_digest(&state_->hash))};
}

Fingerprint fingerprint_of(std::string_view bytes) {
  Fingerprinter fingerprinter;
  fingerprinter.add(std::as_bytes(std::span(bytes)));
  return fingerprinter.result();
}

Fingerprint fingerprint_of_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  Fingerprinter fingerprinter;
  std::vector<char> buffer(piece);
  while (stream) {
    stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    fingerprinter.add(
        std::as_bytes(std::span(buffer).first(static_cast<std::size_t>(stream.gcount()))));
  }
  if (!stream.eof()) {
    throw std::system_error(errno != 0 ? errno : EIO, std::generic_category(),
                            fmt::format("cannot read '{}'", file.string()));
  }
  return fingerprinter.result();
}

}  // namespace penstock::checkpoint
