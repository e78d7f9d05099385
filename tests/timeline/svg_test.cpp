#include "timeline/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "timelines.h"

namespace penstock::timeline {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Box {
  double x = 0;
  double y = 0;
  double width = 0;
  double height = 0;
};
struct Text {
  double x = 0;
  double y = 0;
  std::string text;
};

/// What stands between each `begin` and the next `end`.
std::vector<std::string> between(std::string_view text, std::string_view begin,
                                 std::string_view end) {
  std::vector<std::string> result;
  for (auto at = text.find(begin); at != std::string_view::npos; at = text.find(begin, at)) {
    at += begin.size();
    const auto stop = text.find(end, at);
    result.emplace_back(text.substr(at, stop - at));
  }
  return result;
}

double number_after(const std::string& text, std::string_view before) {
  return std::stod(between(text, before, "\"").at(0));
}

std::vector<Box> rectangles(const std::string& path) {
  std::vector<Box> result;
  for (const auto& part : between(path, "M", "z")) {
    Box box;
    EXPECT_EQ(std::sscanf(part.c_str(), "%lf %lfh%lfv%lf", &box.x, &box.y, &box.width, &box.height),
              4)
        << part;
    result.push_back(box);
  }
  return result;
}

/// The boxes of all layers whose class begins so.
std::vector<Box> boxes(const std::string& svg, const std::string& name = "") {
  std::vector<Box> result;
  for (const auto& path : between(svg, "<path class=\"" + name, "/>")) {
    const auto found = rectangles(between(path, "d=\"", "\"").at(0));
    result.insert(result.end(), found.begin(), found.end());
  }
  return result;
}

std::vector<Text> words(const std::string& svg) {
  std::vector<Text> result;
  for (const auto& item : between(svg, "<text x=", "</text>")) {
    Text text;
    EXPECT_EQ(std::sscanf(item.c_str(), "\"%lf\" y=\"%lf\"", &text.x, &text.y), 2) << item;
    text.text = item.substr(item.find('>') + 1);
    result.push_back(std::move(text));
  }
  return result;
}

/// Those in cells.
std::vector<Text> labels(const std::string& svg) {
  std::vector<Text> result;
  for (const auto& group : between(svg, "<g class=\"l\">", "</g></g>")) {
    for (auto& text : words(group)) result.push_back(std::move(text));
  }
  return result;
}

Picture picture_of(const Timeline& timeline) {
  Picture picture;
  picture.panels.push_back({"title", &timeline, 0, end_of(timeline)});
  picture.slot = slot_of(timeline);
  return picture;
}

double font_of(const std::string& svg) {
  return std::stod(between(svg, ".l text{font-size:", "px").at(0));
}

const Box* box_around(const std::vector<Box>& boxes, const Text& text) {
  for (const Box& box : boxes) {
    const bool inside = text.x > box.x && text.x < box.x + box.width && text.y > box.y &&
                        text.y < box.y + box.height;
    if (inside) return &box;
  }
  return nullptr;
}

TEST(Svg, DrawsEveryCellOfTheTimeline) {
  const auto timeline = two_stages();
  const std::string text = svg(picture_of(timeline));
  // 4 F and 4 B on even weights, 2 U that write odd ones, 3 transfers, and one swatch each.
  EXPECT_EQ(boxes(text, "a0").size(), 5U);
  EXPECT_EQ(boxes(text, "b0").size(), 5U);
  EXPECT_EQ(boxes(text, "e1").size(), 3U);
  EXPECT_EQ(boxes(text, "k0").size(), 4U);
  // Two slots of 2 characters: B is twice as wide as F, up to rounding to 0.1.
  EXPECT_NEAR(boxes(text, "b0")[0].width + 0.8, 2 * (boxes(text, "a0")[0].width + 0.8), 0.2);
  EXPECT_THAT(text, HasSubstr(">stage 1</text>"));
  EXPECT_THAT(text, HasSubstr(">F forward</text>"));
  EXPECT_THAT(text, HasSubstr(">transfer</text>"));
}

// A character of the fonts named in the file is at most 0.61 of the size wide.
TEST(Svg, LabelsFitTheirCellsAndAreThereAtAllSizes) {
  for (const char* name : {"2bw", "zb-v", "pipedream"}) {
    for (const int d : {2, 8, 32}) {
      const schedule::PipelineShape shape{d, d, name == std::string("zb-v") ? 2 : 1};
      const auto timeline = simulated(name, shape, 2);
      const std::string text = svg(picture_of(timeline));
      const auto cell_boxes = boxes(text);
      const double font = font_of(text);
      EXPECT_GE(font, 10) << "legible without zoom";
      std::size_t training = 0;
      for (const auto& spans : timeline.stages) {
        for (const Span& item : spans) {
          const auto kind = item.action.kind;
          training += kind == schedule::ActionKind::forward ||
                      kind == schedule::ActionKind::backward ||
                      kind == schedule::ActionKind::backward_input ||
                      kind == schedule::ActionKind::backward_weight;
        }
      }
      const auto found = labels(text);
      EXPECT_EQ(found.size(), training) << name << d;
      // Looking at all would take quadratic time.
      for (std::size_t i = 0; i < found.size(); i += 1 + found.size() / 200) {
        const Box* box = box_around(cell_boxes, found[i]);
        ASSERT_NE(box, nullptr) << found[i].text;
        EXPECT_GE(found[i].text.size(), 2U) << "with its number";
        const double half = 0.61 * font * static_cast<double>(found[i].text.size()) / 2;
        EXPECT_GE(found[i].x - half, box->x - 0.1) << found[i].text;
        EXPECT_LE(found[i].x + half, box->x + box->width + 0.1) << found[i].text;
        EXPECT_LE(font, box->height);
      }
    }
  }
}

TEST(Svg, LeavesLabelsOutWhereTheyDoNotFit) {
  const auto timeline = simulated("2bw", {4, 16, 1}, 2);
  const auto picture = picture_of(timeline);
  // 102 slots in 500 pixels: too few for "F10", enough for the "B" of twice the width.
  const std::string narrow = svg(picture, 500);
  EXPECT_LE(number_after(narrow, " width=\""), 700);
  for (const Text& text : labels(narrow)) EXPECT_EQ(text.text.size(), 1U) << text.text;
  EXPECT_TRUE(labels(svg(picture, 200)).empty());
}

TEST(Svg, PutsEverythingWithinItsBorders) {
  for (const int d : {1, 2, 32}) {
    const auto timeline = simulated("gpipe", {d, 4, 1}, 2, {.update = 1.5});
    const std::string text = svg(picture_of(timeline));
    const double width = number_after(text, " width=\"");
    const double height = number_after(text, " height=\"");
    for (const Box& box : boxes(text)) {
      EXPECT_LE(box.x + box.width, width);
      EXPECT_LE(box.y + box.height, height);
    }
    for (const Text& word : words(text)) {
      EXPECT_LE(word.y, height) << word.text;
      // Words are 12 pixels high; cells' labels are checked above.
      EXPECT_LE(word.x, width) << word.text;
    }
    EXPECT_EQ(text.find("h-0z"), std::string::npos);
  }
}

TEST(Svg, MarksTheStartOfEachBatchAndUpdatesWithoutDuration) {
  const auto timeline = simulated("2bw", {2, 2, 1}, 3);
  const std::string text = svg(picture_of(timeline));
  std::size_t bars = 0;
  for (const auto& path : between(text, "l\">\n<path d=\"", "\"")) {
    bars += rectangles(path).size();
  }
  EXPECT_EQ(bars, 12U) << "F and B, on two stages, of three batches";
  const std::string fill = "\" fill=\"" + std::string(colour(Mark::update, true).fill);
  const std::string before = text.substr(0, text.find(fill));
  const auto instants = rectangles(before.substr(before.rfind("d=\"")));
  EXPECT_EQ(instants.size(), 7U) << "six updates and the legend's";
}

TEST(Svg, IsTheSameEachTimeAndEscapesNames) {
  const auto timeline = two_stages();
  auto picture = picture_of(timeline);
  picture.panels[0].title = "a<b> & \"c\"";
  EXPECT_EQ(svg(picture), svg(picture));
  EXPECT_THAT(svg(picture), HasSubstr(">a&lt;b&gt; &amp; &quot;c&quot;</text>"));
  EXPECT_THAT(svg(picture), Not(HasSubstr("a<b>")));
}

TEST(Svg, IsSmall) {
  const auto timeline = simulated("2bw", {8, 16, 1}, 3);
  // 768 cells of a label (some 32 bytes) and a rectangle (some 24), with room for the rest.
  EXPECT_LT(svg(picture_of(timeline)).size(), 768U * 80U + 8192U);
}

TEST(Svg, StacksPanelsOnOneScale) {
  const auto timeline = two_stages();
  auto picture = picture_of(timeline);
  picture.panels.push_back({"again", &timeline, 0, 11});
  const std::string text = svg(picture);
  const auto found = boxes(text, "a0");
  ASSERT_EQ(found.size(), 9U);
  EXPECT_EQ(found[0].x, found[4].x);
  EXPECT_EQ(found[0].width, found[4].width);
  EXPECT_GT(found[4].y, found[0].y + 2 * found[0].height);
}

}  // namespace
}  // namespace penstock::timeline
