#include "train/checkpoint_saver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <set>
#include <string>
#include <system_error>

#include "checkpoint/checkpoint_reader.h"
#include "support/file_size_limit.h"
#include "support/temporary_folder.h"

namespace penstock::train {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using support::TemporaryFolder;

engine::StageState state(int stage, std::int64_t cut, std::int64_t size = 10) {
  engine::StageState state{stage, cut, {}};
  state.tensors["weights"] = at::full({size}, static_cast<double>(100 * cut + stage));
  return state;
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  if (!fs::exists(folder)) return names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

/// A saver of two stages. While `gate` is closed, its disk stands still at the end of a checkpoint.
class CheckpointSaverTest : public testing::Test {
 protected:
  CheckpointSaver::Setup setup() {
    return {.writer = {.folder = folder_.path(),
                       .stages = 2,
                       .identity = {},
                       .before_publication = [this] { gate_.wait(); }},
            .on_failure = [this] { ++failures_; }};
  }

  void open() { opened_.set_value(); }

  bool would_wait(CheckpointSaver& saver, int stage) {
    auto room = std::async(std::launch::async, [&] { saver.wait_for_room(stage); });
    const bool waits = room.wait_for(50ms) == std::future_status::timeout;
    waiting_.push_back(std::move(room));
    return waits;
  }

  /// As a stage does.
  static void give(CheckpointSaver& saver, engine::StageState state) {
    saver.wait_for_room(state.stage);
    saver.save(std::move(state));
  }

  const TemporaryFolder folder_;
  std::promise<void> opened_;
  std::shared_future<void> gate_ = opened_.get_future().share();
  std::atomic<int> failures_ = 0;
  std::vector<std::future<void>> waiting_;  // joined before the members above go
};

TEST_F(CheckpointSaverTest, SavesWhatItIsGiven) {
  open();
  CheckpointSaver saver(setup());
  EXPECT_FALSE(saver.newest());
  saver.save(state(1, 40));
  saver.save(state(0, 40));
  saver.save(state(0, 80));
  saver.save(state(1, 80));
  saver.finish();
  EXPECT_EQ(saver.newest(), 80);
  EXPECT_EQ(failures_, 0);
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{"update-00000080"});
  const auto path = folder_ / "update-00000080";
  checkpoint::verify_checkpoint(path);
  const auto read = checkpoint::read_checkpoint(path);
  EXPECT_TRUE(read.stages[1].at("weights").equal(state(1, 80).tensors.at("weights")));
}

TEST_F(CheckpointSaverTest, WhatIsIncompleteLeavesNothing) {
  open();
  {
    CheckpointSaver saver(setup());
    saver.save(state(0, 40));
    saver.save(state(1, 40));
    saver.save(state(0, 80));
  }
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{"update-00000040"});
}

TEST_F(CheckpointSaverTest, SavingDoesNotWaitForTheDiskAndAStageDoesOnlyForItsOwn) {
  {
    CheckpointSaver saver(setup());
    give(saver, state(0, 40));
    give(saver, state(1, 40));  // returns while the disk stands still
    EXPECT_TRUE(would_wait(saver, 1));
    give(saver, state(0, 80));  // the one before is written, but not published
    EXPECT_TRUE(would_wait(saver, 0));
    open();
    for (auto& waiting : waiting_) {
      EXPECT_EQ(waiting.wait_for(20s), std::future_status::ready);
    }
  }
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{"update-00000040"});
}

TEST_F(CheckpointSaverTest, StatesCountBeforeTheyAreSaved) {
  auto two = setup();
  two.states_per_stage = 2;
  CheckpointSaver saver(two);
  saver.wait_for_room(0);
  saver.wait_for_room(0);  // on their way, as in a queue of events that nobody takes
  EXPECT_TRUE(would_wait(saver, 0));
  EXPECT_FALSE(would_wait(saver, 1));
  open();
  saver.save(state(0, 40));
  EXPECT_EQ(waiting_.front().wait_for(20s), std::future_status::ready);
}

TEST_F(CheckpointSaverTest, AFullDiskEndsItAndNobodyWaits) {
  open();
  CheckpointSaver saver(setup());
  saver.save(state(0, 40));
  saver.save(state(1, 40));
  while (!saver.newest()) std::this_thread::sleep_for(1ms);
  {
    const support::FileSizeLimit limit(20'000);
    saver.save(state(0, 80));
    saver.save(state(1, 80, 10'000));
    while (failures_ == 0) std::this_thread::sleep_for(1ms);
  }
  saver.save(state(0, 120));
  saver.save(state(1, 120));
  saver.wait_for_room(0);
  saver.wait_for_room(1);
  try {
    saver.finish();
    FAIL() << "no error";
  } catch (const std::system_error& error) {
    EXPECT_NE(std::string(error.what()).find("update-00000080.partial/stage-0001.safetensors"),
              std::string::npos)
        << error.what();
  }
  EXPECT_EQ(failures_, 1);
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{"update-00000040"});
}

TEST_F(CheckpointSaverTest, GivenUpItTakesNothingAndNobodyWaits) {
  {
    CheckpointSaver saver(setup());
    give(saver, state(0, 40));
    give(saver, state(1, 40));
    EXPECT_TRUE(would_wait(saver, 1));
    saver.abandon();
    saver.wait_for_room(1);
    saver.save(state(0, 80));
    saver.save(state(1, 80));
    open();
    saver.finish();
    EXPECT_EQ(failures_, 0);
  }
  EXPECT_FALSE(names_in(folder_.path()).contains("update-00000080"));
}

}  // namespace
}  // namespace penstock::train
