#include "checkpoint/fingerprint.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <system_error>

#include "support/temporary_folder.h"

namespace penstock::checkpoint {
namespace {

using support::TemporaryFolder;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(Fingerprint, OfNothingIsThePublishedHash) {
  // XXH3 with 64 bits of no bytes, seed 0, as in xxHash's own test vectors.
  EXPECT_EQ(fingerprint_of(std::string_view()), (Fingerprint{0, "2d06800538d394c2"}));
}

TEST(Fingerprint, PiecesDoNotMatter) {
  const std::string text(5000, 'x');
  Fingerprinter fingerprinter;
  fingerprinter.add(bytes_of(text).first(1));
  fingerprinter.add({});
  fingerprinter.add(bytes_of(text).subspan(1, 4000));
  fingerprinter.add(bytes_of(text).subspan(4001));
  EXPECT_EQ(fingerprinter.result(), fingerprint_of(std::string_view(text)));
}

TEST(Fingerprint, EveryByteAndTheLengthCount) {
  const std::string text(300, 'x');
  const Fingerprint whole = fingerprint_of(std::string_view(text));
  for (const std::size_t i : {0U, 150U, 299U}) {
    std::string other = text;
    other[i] = 'y';
    EXPECT_NE(fingerprint_of(std::string_view(other)).xxh3, whole.xxh3) << i;
  }
  EXPECT_NE(fingerprint_of(std::string_view(text + "x")).xxh3, whole.xxh3);
}

TEST(Fingerprint, OfAFileIsThatOfItsBytes) {
  const TemporaryFolder folder;
  // More than a piece of reading, and no multiple of it.
  for (const std::size_t size : {0U, 1U, 1U << 20, (1U << 20) + 7}) {
    std::string text(size, 'a');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 26);
    EXPECT_EQ(fingerprint_of_file(folder.write("file", text)),
              fingerprint_of(std::string_view(text)))
        << size;
  }
}

TEST(Fingerprint, AFileThatCannotBeReadIsNamed) {
  const TemporaryFolder folder;
  try {
    fingerprint_of_file(folder / "none");
    FAIL() << "no error";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
    EXPECT_NE(std::string(error.what()).find("'" + (folder / "none").string() + "'"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace penstock::checkpoint
