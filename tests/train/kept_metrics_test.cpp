#include "train/kept_metrics.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "observe/metrics.h"
#include "support/temporary_folder.h"

namespace penstock::train {
namespace {

using support::TemporaryFolder;

std::string update_line(std::int64_t step) {
  observe::UpdateRecord record;
  record.step = step;
  record.loss = 5.0 / static_cast<double>(step);
  record.tokens = 100 * step;
  record.seconds = 0.5 * static_cast<double>(step);
  record.busy = {0.5, 0.75};
  return observe::to_json_line(record) + "\n";
}

std::string evaluation_line(std::int64_t step) {
  observe::EvalRecord record;
  record.step = step;
  record.val_loss = 6.0;
  record.sequences = 5;
  record.seconds = 0.5 * static_cast<double>(step) + 0.125;
  record.duration = 0.125;
  return observe::to_json_line(record) + "\n";
}

/// Updates 1 to 6 with evaluations of W(2), W(4) and W(6).
std::string six_updates() {
  std::string text;
  for (std::int64_t step = 1; step <= 6; ++step) {
    text += update_line(step);
    if (step % 2 == 0) text += evaluation_line(step);
  }
  return text;
}

std::string error_of(const std::string& text, std::int64_t cut) {
  const TemporaryFolder folder;
  const auto file = folder.write("metrics.jsonl", text);
  try {
    read_kept_metrics(file, cut);
  } catch (const UserError& error) {
    std::string what = error.what();
    const std::string path = folder.path().string() + "/";
    return what.erase(what.find(path), path.size());
  }
  return "no error";
}

TEST(KeptMetrics, EndWithTheUpdateThatMakesTheCut) {
  const TemporaryFolder folder;
  const auto kept = read_kept_metrics(folder.write("metrics.jsonl", six_updates()), 4);
  // The evaluation of W(4) comes behind the cut.
  EXPECT_EQ(kept.text,
            update_line(1) + update_line(2) + evaluation_line(2) + update_line(3) + update_line(4));
  ASSERT_EQ(kept.updates.size(), 4U);
  EXPECT_EQ(kept.updates[3].step, 4);
  EXPECT_EQ(kept.updates[3].loss, 1.25);
  EXPECT_EQ(kept.updates[3].tokens, 400);
  EXPECT_EQ(kept.updates[3].seconds, 2.0);
  EXPECT_EQ(kept.updates[3].busy, (std::vector<double>{0.5, 0.75}));
  ASSERT_EQ(kept.evaluations.size(), 1U);
  EXPECT_EQ(kept.evaluations[0].step, 2);
  EXPECT_EQ(kept.evaluations[0].duration, 0.125);
}

TEST(KeptMetrics, BeforeTheFirstUpdateThereAreNone) {
  const TemporaryFolder folder;
  const auto kept = read_kept_metrics(folder.write("metrics.jsonl", six_updates()), 0);
  EXPECT_EQ(kept.text, "");
  EXPECT_TRUE(kept.updates.empty() && kept.evaluations.empty());
}

TEST(KeptMetrics, WhatOthersHaveAddedToALineStays) {
  const TemporaryFolder folder;
  const std::string line = "{ \"mine\": [1, 2], " + update_line(1).substr(1);
  EXPECT_EQ(read_kept_metrics(folder.write("metrics.jsonl", line), 1).text, line);
}

TEST(KeptMetrics, TheRestOfALostLineIsLeftOut) {
  const TemporaryFolder folder;
  const std::string line = update_line(5);
  for (std::size_t length = 0; length < line.size(); ++length) {
    std::string text = update_line(1) + line;
    text.resize(update_line(1).size() + length);
    EXPECT_EQ(read_kept_metrics(folder.write("metrics.jsonl", text), 1).text, update_line(1))
        << length;
  }
  // Also where it is the one that is needed.
  EXPECT_EQ(error_of(update_line(1) + update_line(2).substr(0, 30), 2),
            "[resume] 'metrics.jsonl' lacks update 2 of the 2 before the checkpoint; put the file "
            "back as the run wrote it");
}

TEST(KeptMetrics, MissingUpdatesAreNamed) {
  const std::string advice = " before the checkpoint; put the file back as the run wrote it";
  EXPECT_EQ(error_of(six_updates(), 7),
            "[resume] 'metrics.jsonl' lacks update 7 of the 7" + advice);
  EXPECT_EQ(error_of(update_line(1) + update_line(3), 3),
            "[resume] 'metrics.jsonl' lacks update 2 of the 3" + advice);
  EXPECT_EQ(error_of(update_line(1) + update_line(1) + update_line(2), 2),
            "[resume] 'metrics.jsonl' lacks update 2 of the 2" + advice);
  const TemporaryFolder folder;
  EXPECT_THROW(read_kept_metrics(folder / "metrics.jsonl", 1), UserError);
}

TEST(KeptMetrics, LinesThatAreNoRecordsAreNamed) {
  for (const char* line : {"x", "", "{}", "[1]", R"({"step":"2"})", R"({"step":2})"}) {
    EXPECT_EQ(error_of(update_line(1) + line + "\n" + update_line(2), 2),
              "[resume] 'metrics.jsonl' line 2 is no record; put the file back as the run wrote it")
        << line;
  }
}

}  // namespace
}  // namespace penstock::train
