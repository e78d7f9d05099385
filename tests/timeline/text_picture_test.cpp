#include "timeline/text_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "timelines.h"

namespace penstock::timeline {
namespace {

using testing::HasSubstr;
using testing::Not;

Picture picture_of(const Timeline& timeline, std::string title = "title") {
  Picture picture;
  picture.panels.push_back({std::move(title), &timeline, 0, end_of(timeline)});
  picture.slot = slot_of(timeline);
  return picture;
}

std::vector<std::string> lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string line; std::getline(stream, line);) result.push_back(line);
  return result;
}

// Four columns a slot, so that halves of a slot are whole columns.
TEST(TextPicture, DrawsCellsBubblesAndTransfersToScale) {
  const auto timeline = two_stages();
  const auto drawn = text_picture(picture_of(timeline), {.per_slot = 4});
  EXPECT_EQ(drawn.missing, 0);
  EXPECT_EQ(drawn.text,
            "title\n"
            "time     0                   5                   10\n"
            "stage 0  F0- F1- ..........~~B0----- ..~~B1----- U---\n"
            "stage 1  ....~~F0- B0----- F1- B1----- ..........U---\n"
            "F forward   B backward   U update   ~ transfer   . bubble\n"
            "capital letters: even batches, small: odd\n");
}

TEST(TextPicture, MarksUpdatesWithoutDurationAndOddBatches) {
  const auto timeline = simulated("2bw", {2, 2, 1}, 2);
  const auto drawn = lines(text_picture(picture_of(timeline), {}).text);
  EXPECT_EQ(drawn[2], "stage 0  F0 F1 ......B0--- f0 B1--- f1 b0--- ...b1---|");
  EXPECT_EQ(drawn[3], "stage 1  ...F0 B0--- F1 B1--- f0 b0--- f1 b1---|.....|");
  EXPECT_THAT(drawn[4], HasSubstr("| update"));
}

TEST(TextPicture, IsCutAtTheWidthAndTellsWhatIsMissing) {
  const auto timeline = two_stages();
  const auto drawn = text_picture(picture_of(timeline), {.width = 9 + 12, .per_slot = 4});
  for (const auto& line : lines(drawn.text)) {
    EXPECT_TRUE(!line.starts_with("stage") || line.size() == 21) << line;
  }
  EXPECT_EQ(drawn.shown, 3);
  EXPECT_EQ(drawn.missing, 8);
}

TEST(TextPicture, NarrowShowsLettersOnly) {
  const auto timeline = two_stages();
  const auto drawn = lines(text_picture(picture_of(timeline), {.per_slot = 2}).text);
  EXPECT_EQ(drawn[2], "stage 0  F0F1.....~B0- .~B1- U-");
}

// "F1" for F10 would be a lie.
TEST(TextPicture, ShowsNoPartOfANumber) {
  const auto timeline = simulated("gpipe", {1, 12, 1}, 1);
  const auto drawn = lines(text_picture(picture_of(timeline), {.per_slot = 2}).text);
  EXPECT_EQ(drawn[2].substr(0, 37), "stage 0  F0F1F2F3F4F5F6F7F8F9F F B0- ");
}

TEST(TextPicture, ColoursByActionAndVersionOnlyWhereAsked) {
  const auto timeline = simulated("2bw", {2, 2, 1}, 4);
  EXPECT_THAT(text_picture(picture_of(timeline), {}).text, Not(HasSubstr("\x1b")));
  const auto coloured = text_picture(picture_of(timeline), {.colour = true}).text;
  EXPECT_THAT(coloured, HasSubstr("\x1b[0;38;5;16;48;5;117mF0\x1b[0m")) << "W(0)";
  EXPECT_THAT(coloured, HasSubstr("\x1b[0;38;5;231;48;5;26mF0\x1b[0m")) << "W(1)";
  EXPECT_THAT(coloured, HasSubstr("\x1b[0;2m...")) << "dim bubbles";
  EXPECT_THAT(coloured, HasSubstr("light: even weight versions, dark: odd ones"));
}

TEST(TextPicture, PutsPanelsOnOneScale) {
  const auto planned = two_stages();
  auto measured = two_stages();
  for (auto& spans : measured.stages) {
    for (Span& item : spans) {
      item.begin = 100 + 2 * item.begin;
      item.end = 100 + 2 * item.end;
      item.transfer *= 2;
    }
  }
  auto picture = picture_of(planned, "planned");
  picture.panels.push_back({"measured", &measured, 100, 122});
  const auto drawn = lines(text_picture(picture, {.per_slot = 4}).text);
  EXPECT_EQ(drawn[2].substr(0, 25), "stage 0  F0- F1- ........");
  EXPECT_EQ(drawn[4], "measured");
  EXPECT_EQ(drawn[6].substr(0, 25), "stage 0  F0----- F1----- ");
}

TEST(TextPicture, ShowsNoLabelOfACellThatBeganBefore) {
  const auto timeline = two_stages();
  auto picture = picture_of(timeline);
  picture.panels[0].from = 6;
  const auto drawn = lines(text_picture(picture, {.per_slot = 4}).text);
  EXPECT_EQ(drawn[1], "time                     10") << "the axis is the run's";
  EXPECT_EQ(drawn[2], "stage 0  --- ..~~B1----- U---");
}

// Rows of all shapes are equally long, and every F that has room for its label has it.
TEST(TextPicture, IsLegibleFromTwoToThirtyTwoStages) {
  for (const int d : {2, 8, 32}) {
    const auto timeline = simulated("2bw", {d, d, 1}, 2);
    const auto drawn = lines(text_picture(picture_of(timeline), {}).text);
    const std::string first = "F" + std::to_string(d - 1);
    for (int s = 0; s < d; ++s) {
      const auto& line = drawn[static_cast<std::size_t>(2 + s)];
      EXPECT_EQ(line.size(), drawn[2].size());
      EXPECT_THAT(line, HasSubstr(first + " ")) << d;
    }
  }
}

}  // namespace
}  // namespace penstock::timeline
