#include "data/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "data/helpers.h"

namespace penstock::data {
namespace {

std::vector<std::string> cut(std::string_view text) {
  PreTokenizer pre_tokenizer;
  std::vector<std::string> parts;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = pre_tokenizer.next(text, start);
    if (end <= start || end > text.size()) ADD_FAILURE() << "no progress at " << start;
    if (end <= start || end > text.size()) break;
    parts.emplace_back(text.substr(start, end - start));
    start = end;
  }
  return parts;
}

using Parts = std::vector<std::string>;

TEST(PreTokenizer, CutsCode) {
  EXPECT_EQ(cut("def get_name(self, x1=12345):\n    return self.__dict__\n"),
            (Parts{"def", " get", "_name", "(", "self", ",", " x", "1", "=", "123", "45",
                   "):", "\n   ", " return", " self", ".__", "dict", "__", "\n"}));
}

TEST(PreTokenizer, LeavesOneSpaceToWhatFollows) {
  EXPECT_EQ(cut("a   b \n\n c  "), (Parts{"a", "  ", " b", " \n\n", " c", "  "}));
  EXPECT_EQ(cut("a\tb"), (Parts{"a", "\t", "b"}));
  EXPECT_EQ(cut("x = +7"), (Parts{"x", " =", " +", "7"}));
}

TEST(PreTokenizer, TakesHighBytesAsLetters) {
  EXPECT_EQ(cut("na\xc3\xafve \xe2\x82\xac_\xff"),
            (Parts{"na\xc3\xafve", " \xe2\x82\xac", "_\xff"}));
}

TEST(PreTokenizer, CutsLongRuns) {
  for (const char c : {'a', ' ', '-', '\xff', '\0'}) {
    EXPECT_EQ(cut(std::string(600, c)),
              (Parts{std::string(256, c), std::string(256, c), std::string(88, c)}));
  }
}

// The character behind the longest run decides nothing; the one behind a shorter run does.
TEST(PreTokenizer, LooksBehindTheEndOfItsWindow) {
  EXPECT_EQ(cut(std::string(256, ' ') + "a"), (Parts{std::string(255, ' '), " a"}));
  EXPECT_EQ(cut(std::string(257, ' ') + "a"), (Parts{std::string(256, ' '), " a"}));
}

TEST(PreTokenizer, CoversAnyBytes) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::string text = random_text(seed, 5000);
    std::string joined;
    for (const std::string& part : cut(text)) {
      EXPECT_LE(part.size(), PreTokenizer::longest);
      joined += part;
    }
    EXPECT_EQ(joined, text);
  }
}

}  // namespace
}  // namespace penstock::data
