#include "data/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>
#include <vector>

#include "data/content_hash.h"
#include "data/pair_table.h"

namespace penstock::data {
namespace {

/// Ids of recent pre-tokens: one place per hash value, the latest owner keeps it.
class PreTokenCache {
 public:
  /// A place fills a cache line. Pre-tokens that do not fit are encoded anew each time.
  struct alignas(64) Entry {
    std::uint8_t length = 0;  ///< 0: nobody's.
    std::uint8_t count = 0;
    std::array<char, 30> bytes{};
    std::array<std::uint32_t, 8> ids{};

    bool holds(std::string_view text) const {
      return length == text.size() && std::memcmp(bytes.data(), text.data(), length) == 0;
    }

    void store(std::string_view text, std::span<const std::uint32_t> encoded) {
      if (encoded.size() > ids.size()) return;
      length = static_cast<std::uint8_t>(text.size());
      count = static_cast<std::uint8_t>(encoded.size());
      std::copy(text.begin(), text.end(), bytes.begin());
      std::copy(encoded.begin(), encoded.end(), ids.begin());
    }
  };
  static_assert(sizeof(Entry) == 64);

  static bool fits(std::string_view text) { return text.size() <= sizeof(Entry::bytes); }

  Entry& place(std::string_view text) {
    if (entries_.empty()) entries_.resize(places);
    return entries_[content_hash(text) % places];
  }

 private:
  static constexpr std::size_t places = std::size_t{1} << 17;
  std::vector<Entry> entries_;  ///< Made with the first text: not every tokenizer encodes.
};

class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(std::span<const Merge> merges) : merges_(merges.begin(), merges.end()) {
    if (merges.size() >= std::numeric_limits<std::uint32_t>::max() - end_of_document) {
      throw std::invalid_argument("there are more merges than ids");
    }
    for (std::uint32_t byte = 0; byte < end_of_document; ++byte) {
      tokens_.emplace_back(1, static_cast<char>(byte));
    }
    tokens_.emplace_back();
    for (const Merge& merge : merges) add(merge);
  }

  std::string_view name() const override { return "bpe"; }
  std::uint32_t vocabulary() const override { return static_cast<std::uint32_t>(tokens_.size()); }

  void encode(std::string_view bytes, std::vector<std::uint32_t>& ids) override {
    for (std::size_t start = 0; start < bytes.size();) {
      const std::size_t end = pre_tokenizer_.next(bytes, start);
      encode_pre_token(bytes.substr(start, end - start), ids);
      start = end;
    }
  }

  std::string_view bytes_of(std::uint32_t id) const override {
    return id < tokens_.size() ? std::string_view(tokens_[id]) : "\xef\xbf\xbd";
  }

  std::string to_json() const override {
    std::string text = fmt::format(
        "{{\n"
        "  \"format\": \"penstock tokenizer\",\n"
        "  \"version\": 1,\n"
        "  \"kind\": \"bpe\",\n"
        "  \"vocabulary\": {},\n"
        "  \"pre_tokenizer\": \"{}\",\n"
        "  \"merges\": [",
        vocabulary(), PreTokenizer::id);
    for (std::size_t i = 0; i < merges_.size(); ++i) {
      const std::string& made = tokens_[end_of_document + 1 + i];
      fmt::format_to(std::back_inserter(text), "{}\n    [{}, {}, {}]", i == 0 ? "" : ",",
                     merges_[i].left, merges_[i].right, nlohmann::json(visible_text(made)).dump());
    }
    return text + "\n  ]\n}\n";
  }

 private:
  void add(const Merge& merge) {
    const std::size_t id = tokens_.size();
    const std::size_t index = id - end_of_document - 1;
    for (const std::uint32_t part : {merge.left, merge.right}) {
      if (part < id && part != end_of_document) continue;
      throw std::invalid_argument(
          fmt::format("merge {} makes id {} out of id {}, which no byte or earlier merge has",
                      index, id, part));
    }
    const std::string& left = tokens_[merge.left];
    const std::string& right = tokens_[merge.right];
    if (left.size() + right.size() > PreTokenizer::longest) {
      throw std::invalid_argument(fmt::format("merge {} makes a token of {} bytes, at most {} fit",
                                              index, left.size() + right.size(),
                                              PreTokenizer::longest));
    }
    if (!ids_.emplace(pair_key(merge.left, merge.right), static_cast<std::uint32_t>(id)).second) {
      throw std::invalid_argument(
          fmt::format("merge {} repeats the pair {}, {}", index, merge.left, merge.right));
    }
    tokens_.push_back(left + right);
  }

  void encode_pre_token(std::string_view text, std::vector<std::uint32_t>& ids) {
    if (!PreTokenCache::fits(text)) {
      merge_bytes(text);
      ids.insert(ids.end(), symbols_.begin(), symbols_.end());
      return;
    }
    PreTokenCache::Entry& entry = cache_.place(text);
    if (entry.holds(text)) {
      ids.insert(ids.end(), entry.ids.begin(), entry.ids.begin() + entry.count);
      return;
    }
    merge_bytes(text);
    ids.insert(ids.end(), symbols_.begin(), symbols_.end());
    entry.store(text, symbols_);
  }

  /// Leaves the ids of one pre-token in symbols_. ranks_[i] is the id that the symbols i and i + 1
  /// would make; ids grow with the merges' order, so the lowest merge is the smallest id.
  void merge_bytes(std::string_view text) {
    symbols_.clear();
    for (const char byte : text) symbols_.push_back(static_cast<unsigned char>(byte));
    ranks_.assign(symbols_.size(), none);
    for (std::size_t i = 0; i + 1 < symbols_.size(); ++i) ranks_[i] = rank(i);
    while (true) {
      const auto lowest = std::min_element(ranks_.begin(), ranks_.end());
      if (lowest == ranks_.end() || *lowest == none) return;
      const auto i = static_cast<std::size_t>(lowest - ranks_.begin());
      symbols_[i] = *lowest;
      symbols_.erase(symbols_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      ranks_.erase(ranks_.begin() + static_cast<std::ptrdiff_t>(i));
      ranks_[i] = rank(i);
      if (i > 0) ranks_[i - 1] = rank(i - 1);
    }
  }

  std::uint32_t rank(std::size_t i) const {
    if (i + 1 >= symbols_.size()) return none;
    const auto found = ids_.find(pair_key(symbols_[i], symbols_[i + 1]));
    return found == ids_.end() ? none : found->second;
  }

  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  std::vector<Merge> merges_;
  std::vector<std::string> tokens_;  ///< Bytes of each id.
  PairTable<std::uint32_t> ids_;     ///< What each pair makes.
  PreTokenizer pre_tokenizer_;
  PreTokenCache cache_;
  std::vector<std::uint32_t> symbols_;
  std::vector<std::uint32_t> ranks_;
};

}  // namespace

std::shared_ptr<Tokenizer> make_bpe_tokenizer(std::span<const Merge> merges) {
  return std::make_shared<BpeTokenizer>(merges);
}

std::string visible_text(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    if (byte == '\\') {
      text += "\\\\";
    } else if (byte >= ' ' && byte <= '~') {
      text += byte;
    } else {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
  }
  return text;
}

}  // namespace penstock::data
