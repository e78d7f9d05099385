#include "base/suggest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace penstock {
namespace {

TEST(EditDistance, CountsEachKindOfEdit) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("clip", "clip"), 0u);
  EXPECT_EQ(edit_distance("", "clip"), 4u);
  EXPECT_EQ(edit_distance("clip", ""), 4u);
  EXPECT_EQ(edit_distance("clip", "clipp"), 1u);  // insertion
  EXPECT_EQ(edit_distance("clip", "cip"), 1u);    // deletion
  EXPECT_EQ(edit_distance("clip", "clap"), 1u);   // replacement
  EXPECT_EQ(edit_distance("clip", "cilp"), 1u);   // swap of neighbours
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(EditDistance, EditsNoPartTwice) {
  // With edits inside a swapped pair it would be 2: ca -> ac -> abc.
  EXPECT_EQ(edit_distance("ca", "abc"), 3u);
}

TEST(Suggest, FindsTheNearest) {
  const std::vector<std::string> names = {"steps", "tokens", "warmup", "clip"};
  EXPECT_EQ(suggest("warm_up", names), "warmup");
  EXPECT_EQ(suggest("cilp", names), "clip");
  EXPECT_EQ(suggest("step", names), "steps");
}

TEST(Suggest, TakesTheFirstOfEquallyNear) {
  EXPECT_EQ(suggest("bat", std::vector<std::string>{"cat", "hat"}), "cat");
}

TEST(Suggest, KeepsSilentWhereNothingIsNear) {
  const std::vector<std::string> names = {"steps", "clip", "x"};
  EXPECT_EQ(suggest("learning_rate", names), "");
  EXPECT_EQ(suggest("clock", names), "");  // Three of five characters differ; one may.
  EXPECT_EQ(suggest("clap", names), "clip");
  EXPECT_EQ(suggest("cloc", names), "");  // Two of four.
  EXPECT_EQ(suggest("y", names), "");
  EXPECT_EQ(suggest("clip", {}), "");
}

}  // namespace
}  // namespace penstock
