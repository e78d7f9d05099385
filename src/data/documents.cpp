#include "data/documents.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace penstock::data {

void for_each_document(std::string_view text, std::string_view separator,
                       const std::function<void(std::string_view)>& visit) {
  const auto visit_part = [&](std::size_t start, std::size_t end) {
    if (end > start) visit(text.substr(start, end - start));
  };
  std::size_t start = 0;
  if (!separator.empty()) {
    std::size_t at = text.find(separator);
    while (at != text.npos) {
      std::size_t behind = at + separator.size();
      const bool begins_line = at == 0 || text[at - 1] == '\n';
      if (behind < text.size() && text[behind] == '\r') ++behind;
      const bool ends_line = behind == text.size() || text[behind] == '\n';
      if (begins_line && ends_line) {
        visit_part(start, at);
        start = std::min(behind + 1, text.size());
        at = text.find(separator, start);
      } else {
        at = text.find(separator, at + 1);
      }
    }
  }
  visit_part(start, text.size());
}

bool looks_binary(std::string_view text) {
  return text.substr(0, 8192).find('\0') != std::string_view::npos;
}

DocumentSplit::DocumentSplit(std::vector<std::uint64_t> hashes, double val_fraction)
    : active_(true) {
  std::sort(hashes.begin(), hashes.end());
  hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
  if (hashes.size() < 2) throw std::invalid_argument("one document cannot be split");
  const double wanted = std::round(val_fraction * static_cast<double>(hashes.size()));
  const double most = static_cast<double>(hashes.size() - 1);
  last_val_ = hashes[static_cast<std::size_t>(std::clamp(wanted, 1.0, most)) - 1];
}

}  // namespace penstock::data
