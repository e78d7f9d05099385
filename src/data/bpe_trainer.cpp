#include "data/bpe_trainer.h"

#include <algorithm>
#include <optional>
#include <queue>
#include <stdexcept>

#include "data/content_hash.h"
#include "data/pair_table.h"

namespace penstock::data {
namespace {

/// The pre-tokens as ids, and how often each pair stands in them. Counts are of positions: "aaa"
/// has the pair (a, a) twice.
class PairCounts {
 public:
  void add_word(std::string_view text, std::uint64_t count) {
    const auto index = static_cast<std::uint32_t>(words_.size());
    words_.push_back({symbols_.size(), static_cast<std::uint32_t>(text.size()), count});
    for (const char byte : text) symbols_.push_back(static_cast<unsigned char>(byte));
    const Word& word = words_.back();
    for (std::uint32_t i = 0; i + 1 < word.length; ++i) gain(word, index, i);
  }

  /// Fills the queue with the pairs counted so far.
  void begin() {
    for (const auto& [key, pair] : pairs_) queue_.push({pair.count, key});
    touched_.clear();
  }

  /// The most frequent pair; none where no pair occurs twice.
  std::optional<std::uint64_t> best() {
    while (!queue_.empty() && queue_.top().count >= 2) {
      const Candidate top = queue_.top();
      const std::uint64_t now = pairs_.at(top.key).count;
      if (now == top.count) return top.key;
      // The count has fallen since the pair was queued.
      queue_.pop();
      queue_.push({now, top.key});
    }
    return std::nullopt;
  }

  void merge(std::uint64_t key, std::uint32_t made) {
    queue_.pop();
    const std::vector<std::uint32_t> holders = std::move(pairs_.at(key).words);
    for (const std::uint32_t index : holders) merge_in(index, key, made);
    pairs_.erase(key);
    for (const std::uint64_t changed : touched_) {
      const auto found = pairs_.find(changed);
      if (found != pairs_.end()) queue_.push({found->second.count, changed});
    }
    touched_.clear();
  }

 private:
  struct Word {
    std::size_t first = 0;  ///< In symbols_.
    std::uint32_t length = 0;
    std::uint64_t count = 0;
  };
  struct Pair {
    std::uint64_t count = 0;
    std::vector<std::uint32_t> words;  ///< All that hold it, maybe some that held it once.
  };
  struct Candidate {
    std::uint64_t count = 0;
    std::uint64_t key = 0;

    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : key > other.key;
    }
  };

  std::uint64_t key_at(const Word& word, std::uint32_t i) const {
    return pair_key(symbols_[word.first + i], symbols_[word.first + i + 1]);
  }

  void gain(const Word& word, std::uint32_t index, std::uint32_t i) {
    const std::uint64_t key = key_at(word, i);
    const auto [entry, is_new] = pairs_.try_emplace(key);
    if (is_new) touched_.push_back(key);
    entry->second.count += word.count;
    std::vector<std::uint32_t>& words = entry->second.words;
    if (words.empty() || words.back() != index) words.push_back(index);
  }

  void lose(const Word& word, std::uint32_t i) { pairs_.at(key_at(word, i)).count -= word.count; }

  void merge_in(std::uint32_t index, std::uint64_t key, std::uint32_t made) {
    Word& word = words_[index];
    for (std::uint32_t i = 0; i + 1 < word.length; ++i) {
      if (key_at(word, i) != key) continue;
      if (i > 0) lose(word, i - 1);
      if (i + 2 < word.length) lose(word, i + 1);
      lose(word, i);
      const auto at = symbols_.begin() + static_cast<std::ptrdiff_t>(word.first + i);
      *at = made;
      std::copy(at + 2, at + (word.length - i), at + 1);
      --word.length;
      if (i > 0) gain(word, index, i - 1);
      if (i + 1 < word.length) gain(word, index, i);
    }
  }

  std::vector<Word> words_;
  std::vector<std::uint32_t> symbols_;
  PairTable<Pair> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<std::uint64_t> touched_;  ///< Pairs first seen since the last merge.
};

}  // namespace

std::size_t BpeTrainer::TextHash::operator()(std::string_view text) const {
  return content_hash(text);
}

void BpeTrainer::add(std::string_view text) {
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = pre_tokenizer_.next(text, start);
    const std::string_view pre_token = text.substr(start, end - start);
    start = end;
    if (const auto found = counts_.find(pre_token); found != counts_.end()) {
      ++found->second;
    } else {
      counts_.emplace(pre_token, 1);
    }
  }
}

std::vector<Merge> BpeTrainer::train(std::uint32_t vocabulary, const Progress& progress) const {
  constexpr std::uint32_t without_merges = Tokenizer::end_of_document + 1;
  if (vocabulary < without_merges) throw std::invalid_argument("vocabulary below 257");
  PairCounts pairs;
  for (const auto& [text, count] : counts_) pairs.add_word(text, count);
  pairs.begin();
  std::vector<Merge> merges;
  for (std::uint32_t made = without_merges; made < vocabulary; ++made) {
    const std::optional<std::uint64_t> best = pairs.best();
    if (!best) break;
    pairs.merge(*best, made);
    merges.push_back({left_of(*best), right_of(*best)});
    if (progress && made % 64 == 0) {
      progress("learning merges",
               static_cast<double>(merges.size()) / (vocabulary - without_merges));
    }
  }
  return merges;
}

}  // namespace penstock::data
