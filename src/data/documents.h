#pragma once
// From the text of a file to documents.

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace penstock::data {

/// Calls `visit` with each document of a file's text. Without a separator the text is one document.
/// With one, each line that is exactly `separator` (a '\r' before the line's end aside) ends a
/// document and belongs to none. Documents without bytes are left out.
void for_each_document(std::string_view text, std::string_view separator,
                       const std::function<void(std::string_view)>& visit);

/// Whether there is a zero byte in the first 8 KiB.
bool looks_binary(std::string_view text);

/// Chooses validation documents by content: of the different documents the round(fraction * n), at
/// least one and at most n - 1, with the smallest content_hash(). So equal documents are on the
/// same side, and the choice depends on neither names nor order.
class DocumentSplit {
 public:
  /// All documents are for training.
  DocumentSplit() = default;
  /// `hashes` of all documents, in any order, at least two of them different.
  DocumentSplit(std::vector<std::uint64_t> hashes, double val_fraction);

  bool is_val(std::uint64_t hash) const { return active_ && hash <= last_val_; }

 private:
  bool active_ = false;
  std::uint64_t last_val_ = 0;
};

}  // namespace penstock::data
