// Random grid files: refused, or sound.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "schedule/grid_file.h"
#include "schedule/grids.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::unroll;
using enum ActionKind;

/// What must hold for every stage of every grid that is accepted.
void expect_sound_stage(const Schedule& schedule, int stage, PipelineShape shape,
                        bool declares_in_flight = false) {
  constexpr std::int64_t batches = 3;
  std::map<std::tuple<std::int64_t, std::int64_t, int>, int> progress;
  std::int64_t updates = 0;
  std::int64_t contributed = 0;
  std::int64_t collected = 0;
  int kept = 0;
  int most_kept = 0;
  for (const Action& a : unroll(schedule, stage, shape, batches)) {
    int& state = progress[{a.batch, a.micro_batch, a.kind == update ? 0 : a.chunk}];
    switch (a.kind) {
      case forward:
        ASSERT_EQ(state++, 0);
        ASSERT_EQ(a.version, updates);
        most_kept = std::max(most_kept, ++kept);
        break;
      case backward_input:
      case backward:
        ASSERT_EQ(state, 1);
        state = a.kind == backward ? 3 : 2;
        if (a.kind == backward) --kept;
        break;
      case backward_weight:
        ASSERT_EQ(state++, 2);
        --kept;
        break;
      case contribute:
        ASSERT_EQ(a.batch, contributed++);
        break;
      case await_reduction:
        ASSERT_EQ(a.batch, collected++);
        ASSERT_LE(collected, contributed);
        break;
      case update:
        ASSERT_EQ(a.batch, updates++);
        ASSERT_LE(updates, contributed);
        break;
      default:
        FAIL();
    }
  }
  ASSERT_EQ(updates, batches);
  ASSERT_EQ(contributed, batches);
  ASSERT_EQ(collected, batches);
  ASSERT_EQ(static_cast<std::int64_t>(progress.size()),
            batches * shape.micro_batches * shape.chunks);
  for (const auto& [what, state] : progress) ASSERT_EQ(state, 3);
  const int limit = schedule.limits(stage, shape).in_flight;
  ASSERT_TRUE(declares_in_flight || most_kept <= limit) << most_kept << " > " << limit;
}

/// In a run without end, stage 0 asks for as many batches as the schedule says.
void expect_sound_questions(const Schedule& schedule, PipelineShape shape) {
  std::int64_t asked = 0;
  auto stream = schedule.generate(0, shape, [&asked](std::int64_t batch) {
    asked = std::max(asked, batch + 1);
    return true;
  });
  constexpr std::int64_t updates = 20;
  while (const auto action = stream.next()) {
    if (action->kind != update) continue;
    ASSERT_EQ(schedule.begun_at(action->version, shape), asked) << action->version;
    if (action->version == updates) break;
  }
}

/// Only UserError may leave the parser, and what it accepts must be sound. Returns whether
/// accepted.
bool survives(const std::string& text) {
  try {
    const Schedule schedule = parse_grid(text, "x.grid");
    const PipelineShape shape = shape_of(schedule);
    const bool declared = text.find("in_flight") != std::string::npos;
    for (int stage = 0; stage < shape.stages; ++stage) {
      expect_sound_stage(schedule, stage, shape, declared);
    }
    expect_sound_questions(schedule, shape);
    return true;
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("[x.grid"));
    return false;
  }
}

TEST(GridFile, RandomBytesAreRefused) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string text(random() % 60, ' ');
    for (char& c : text) c = static_cast<char>(random());
    if (i % 2 == 0) text = "stage 0:" + text;
    EXPECT_FALSE(survives(text));
  }
}

TEST(GridFile, RandomWordsAreRefusedOrSound) {
  const std::vector<std::string> words{
      "stage 0:", "stage 1:", "\n",      "\n",       "|",      "F0",    "F1",
      "B0",       "B1",       "X0",      "W0",       "U",      "U-1",   "F0'1",
      "B0'1",     ".",        "delay",   "1",        "chunks", "2",     "10000",
      "F10000",   "B-9999",   "U-10000", "versions", "0..1",   "stage", "micro_batches",
      "F1'255",   "#",        ":",       "'"};
  std::mt19937 random(2);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = "stage 0: F0 ";
    const std::size_t count = random() % 8;
    for (std::size_t j = 0; j < count; ++j) text += words[random() % words.size()] + " ";
    accepted += survives(text) ? 1 : 0;
  }
  EXPECT_GT(accepted, 10);
}

TEST(GridFile, MutatedGridsAreRefusedOrSound) {
  std::vector<std::string> texts;
  for (const Schedule& schedule : registry()) {
    texts.push_back(to_grid(schedule, {2, 4, schedule.default_chunks}));
  }
  constexpr std::string_view letters = "FBXWU|.'-0123456789 \n:#";
  std::mt19937 random(3);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = texts[random() % texts.size()];
    for (std::size_t edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % text.size();
      const char letter = letters[random() % letters.size()];
      if (random() % 3 == 0) {
        text.erase(at, 1 + random() % 4);
      } else if (random() % 2 == 0) {
        text.insert(at, 1, letter);
      } else {
        text[at] = letter;
      }
    }
    accepted += survives(text) ? 1 : 0;
  }
  EXPECT_GT(accepted, 500);
  EXPECT_LT(accepted, 15'000);
}

}  // namespace
}  // namespace penstock::schedule
