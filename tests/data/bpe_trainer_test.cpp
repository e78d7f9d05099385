#include "data/bpe_trainer.h"

#include <gtest/gtest.h>

#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "data/helpers.h"

namespace penstock::data {
namespace {

using Ids = std::vector<std::uint32_t>;
using Pair = std::pair<std::uint32_t, std::uint32_t>;

/// The definition, without any increment: count all pairs, merge the best, begin again.
std::vector<Merge> plain_training(std::string_view text, std::uint32_t vocabulary) {
  PreTokenizer pre_tokenizer;
  std::vector<Ids> words;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = pre_tokenizer.next(text, start);
    Ids& word = words.emplace_back();
    for (; start < end; ++start) word.push_back(static_cast<unsigned char>(text[start]));
  }
  std::vector<Merge> merges;
  for (std::uint32_t made = 257; made < vocabulary; ++made) {
    std::map<Pair, int> counts;
    for (const Ids& word : words) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    }
    // The map is in order of (left, right), so the first of equals is the one with smaller ids.
    std::pair<Pair, int> best{{}, 1};
    for (const auto& entry : counts) {
      if (entry.second > best.second) best = entry;
    }
    if (best.second < 2) break;
    merges.push_back({best.first.first, best.first.second});
    for (Ids& word : words) {
      Ids merged;
      for (std::size_t i = 0; i < word.size(); ++i) {
        const bool here = i + 1 < word.size() && Pair{word[i], word[i + 1]} == best.first;
        merged.push_back(here ? made : word[i]);
        if (here) ++i;
      }
      word = merged;
    }
  }
  return merges;
}

std::vector<Merge> training(std::string_view text, std::uint32_t vocabulary) {
  BpeTrainer trainer;
  trainer.add(text);
  return trainer.train(vocabulary);
}

TEST(BpeTrainer, AgreesWithTheDefinition) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const std::string text = random_text(seed, 6000);
    EXPECT_EQ(training(text, 400), plain_training(text, 400)) << seed;
  }
  // Words of two letters only, where pairs overlap and counts are equal all the time.
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::string text;
    for (std::uint64_t i = 0; i < 600; ++i) text += "ab \n"[random_bits(seed, i) % 11 % 4];
    EXPECT_EQ(training(text, 400), plain_training(text, 400)) << seed;
  }
  EXPECT_EQ(training(std::string(1000, 'a'), 400), plain_training(std::string(1000, 'a'), 400));
}

TEST(BpeTrainer, TakesSmallerIdsOfEqualCounts) {
  // cd, ab and ba twice each.
  EXPECT_EQ(training("cd ab.ab-cd+ba*ba", 258), (std::vector<Merge>{{'a', 'b'}}));
}

TEST(BpeTrainer, DoesNotDependOnOrder) {
  std::vector<std::string> parts;
  for (std::uint64_t seed = 0; seed < 8; ++seed) parts.push_back(random_text(seed, 3000));
  BpeTrainer forwards;
  BpeTrainer backwards;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    forwards.add(parts[i]);
    backwards.add(parts[parts.size() - 1 - i]);
  }
  EXPECT_EQ(forwards.train(600), backwards.train(600));
}

TEST(BpeTrainer, GivesExactlyTheIdsAskedForOrWhatThereIs) {
  const std::string text = random_text(3, 50000);
  EXPECT_EQ(training(text, 300).size(), 43U);
  EXPECT_EQ(training(text, 257).size(), 0U);
  EXPECT_EQ(training("abab", 1000), (std::vector<Merge>{{'a', 'b'}}));
  EXPECT_EQ(training("", 1000).size(), 0U);
  EXPECT_THROW(training(text, 256), std::invalid_argument);
}

TEST(BpeTrainer, ReportsProgress) {
  BpeTrainer trainer;
  trainer.add(random_text(3, 50000));
  std::vector<double> fractions;
  trainer.train(600, [&](std::string_view stage, double fraction) {
    EXPECT_EQ(stage, "learning merges");
    fractions.push_back(fraction);
  });
  ASSERT_GE(fractions.size(), 3U);
  EXPECT_LT(fractions.front(), fractions.back());
  EXPECT_LE(fractions.back(), 1);
}

}  // namespace
}  // namespace penstock::data
