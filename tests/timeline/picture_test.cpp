#include "timeline/picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "timelines.h"

namespace penstock::timeline {
namespace {

std::vector<std::string> texts(const std::vector<Tick>& ticks) {
  std::vector<std::string> result;
  for (const Tick& tick : ticks) result.push_back(tick.text);
  return result;
}

TEST(Legend, TellsWhatCanBeSeen) {
  const auto timeline = two_stages();
  Picture picture;
  picture.panels.push_back({"", &timeline, 0, 11});
  const auto entries = legend(picture);
  std::vector<Mark> marks;
  for (const auto& entry : entries) marks.push_back(entry.mark);
  // contribute takes no time and is not seen.
  EXPECT_THAT(marks, testing::ElementsAre(Mark::forward, Mark::backward, Mark::update,
                                          Mark::wait_activation, Mark::wait_gradient,
                                          Mark::wait_update, Mark::transfer));
  EXPECT_EQ(entries[0].letter, "F");
  EXPECT_TRUE(entries[0].even);
  EXPECT_FALSE(entries[0].odd);
  EXPECT_TRUE(entries[2].odd) << "writes W(1)";
  EXPECT_FALSE(entries[2].instant);
}

TEST(Legend, MentionsChunksOnlyWhereThereAreSome) {
  const auto plain = two_stages();
  const auto chunked = simulated("zb-v", {2, 2, 2}, 1);
  Picture picture;
  picture.panels.push_back({"", &plain, 0, 11});
  EXPECT_EQ(legend_note(picture), "capital letters: even batches, small: odd");
  picture.panels.push_back({"", &chunked, 0, 11});
  EXPECT_EQ(legend_note(picture), "capital letters: even batches, small: odd; a, b: chunks");
}

TEST(Ticks, AreRoundAndFarEnoughApart) {
  EXPECT_THAT(texts(ticks({Axis::plain, 0, 12, 3})), testing::ElementsAre("0", "5", "10"));
  EXPECT_THAT(texts(ticks({Axis::plain, 0, 1, 0.3})), testing::ElementsAre("0", "0.5", "1"));
  EXPECT_THAT(texts(ticks({Axis::seconds, 77, 0.05, 0.011})),
              testing::ElementsAre("0", "20 ms", "40 ms"));
}

TEST(Ticks, ArePlainNumbersOfTheRunWhereAPanelStartsLater) {
  const auto found = ticks({Axis::plain, 7, 10, 3});
  EXPECT_THAT(texts(found), testing::ElementsAre("10", "15"));
  EXPECT_EQ(found[0].at, 3);
}

TEST(ShapeText, CountsInWords) {
  EXPECT_EQ(shape_text("2bw", {4, 8, 1}), "2bw, 4 stages, 8 micro-batches");
  EXPECT_EQ(shape_text("zb-v", {1, 1, 2}), "zb-v, 1 stage, 1 micro-batch, 2 chunks per stage");
}

TEST(SecondsText, ChoosesTheUnit) {
  EXPECT_EQ(seconds_text(0), "0 s");
  EXPECT_EQ(seconds_text(2.5e-7), "0.25 us");
  EXPECT_EQ(seconds_text(0.000125), "125 us");
  EXPECT_EQ(seconds_text(0.0123456), "12.3 ms");
  EXPECT_EQ(seconds_text(0.99999), "1 s");
  EXPECT_EQ(seconds_text(12345), "12345 s");
}

}  // namespace
}  // namespace penstock::timeline
