#include "checkpoint/checkpoint_writer.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/example_checkpoints.h"
#include "checkpoint/folder.h"
#include "support/file_size_limit.h"
#include "support/temporary_folder.h"

namespace penstock::checkpoint {
namespace {

namespace fs = std::filesystem;
using support::TemporaryFolder;

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  if (!fs::exists(folder)) return names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

TEST(CheckpointWriter, ACheckpointAppearsWithItsLastPart) {
  const TemporaryFolder folder;
  CheckpointWriter writer(test_setup(folder / "run/checkpoints", 3));
  EXPECT_FALSE(writer.write(test_part(2, 40)));
  EXPECT_FALSE(writer.write(test_part(0, 40)));
  EXPECT_EQ(names_in(folder / "run/checkpoints"), std::set<std::string>{"update-00000040.partial"});
  EXPECT_TRUE(writer.write(test_part(1, 40)));
  EXPECT_EQ(names_in(folder / "run/checkpoints"), std::set<std::string>{"update-00000040"});
  EXPECT_EQ(names_in(folder / "run/checkpoints/update-00000040"),
            (std::set<std::string>{"manifest.json", "stage-0000.safetensors",
                                   "stage-0001.safetensors", "stage-0002.safetensors"}));
  EXPECT_EQ(verify_checkpoint(folder / "run/checkpoints/update-00000040").stages, 3);
}

TEST(CheckpointWriter, TheOlderOneGoesWhenTheNewerIsThere) {
  const TemporaryFolder folder;
  CheckpointWriter writer(test_setup(folder.path(), 2));
  writer.write(test_part(0, 40));
  writer.write(test_part(1, 40));
  writer.write(test_part(0, 80));
  // Stage 0 is two cuts ahead.
  writer.write(test_part(0, 120));
  EXPECT_EQ(names_in(folder.path()),
            (std::set<std::string>{"update-00000040", "update-00000080.partial",
                                   "update-00000120.partial"}));
  writer.write(test_part(1, 80));
  EXPECT_EQ(names_in(folder.path()),
            (std::set<std::string>{"update-00000080", "update-00000120.partial"}));
  writer.write(test_part(1, 120));
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"update-00000120"});
  verify_checkpoint(folder / "update-00000120");
}

TEST(CheckpointWriter, AnIncompleteCutLeavesNothing) {
  const TemporaryFolder folder;
  {
    CheckpointWriter writer(test_setup(folder.path(), 2));
    writer.write(test_part(0, 40));
    writer.write(test_part(1, 40));
    writer.write(test_part(0, 80));
    writer.write(test_part(0, 120));
  }
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"update-00000040"});
  verify_checkpoint(folder / "update-00000040");
}

TEST(CheckpointWriter, WhatHasToHappenBeforeHappensBefore) {
  const TemporaryFolder folder;
  auto setup = test_setup(folder.path(), 1);
  int calls = 0;
  setup.before_publication = [&] {
    ++calls;
    EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"update-00000040.partial"});
    EXPECT_TRUE(fs::exists(folder / "update-00000040.partial/manifest.json"));
  };
  CheckpointWriter writer(std::move(setup));
  writer.write(test_part(0, 40));
  EXPECT_EQ(calls, 1);
}

TEST(CheckpointWriter, ACutThatIsThereAlreadyStaysAsItIs) {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), 1, 40);
  const std::string manifest = folder.read("update-00000040/manifest.json");
  CheckpointWriter writer(test_setup(folder.path(), 1));
  EXPECT_TRUE(writer.write(test_part(0, 40)));
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"update-00000040"});
  EXPECT_EQ(folder.read("update-00000040/manifest.json"), manifest);
}

TEST(CheckpointWriter, PartsComeOnceAndFromKnownStages) {
  const TemporaryFolder folder;
  CheckpointWriter writer(test_setup(folder.path(), 2));
  writer.write(test_part(0, 40));
  EXPECT_THROW(writer.write(test_part(0, 40)), std::logic_error);
  EXPECT_THROW(writer.write(test_part(2, 40)), std::logic_error);
  EXPECT_THROW(writer.write(test_part(-1, 40)), std::logic_error);
}

TEST(CheckpointWriter, AFullDiskIsNamedAndTheOlderCheckpointStays) {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), 2, 40);
  {
    CheckpointWriter writer(test_setup(folder.path(), 2));
    Part large = test_part(1, 80);
    large.tensors["large"] = at::zeros({10'000});
    writer.write(test_part(0, 80));
    const support::FileSizeLimit limit(20'000);
    try {
      writer.write(large);
      FAIL() << "no error";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::file_too_large);
      EXPECT_NE(std::string(error.what()).find("update-00000080.partial/stage-0001.safetensors"),
                std::string::npos)
          << error.what();
    }
  }
  EXPECT_EQ(names_in(folder.path()), std::set<std::string>{"update-00000040"});
  verify_checkpoint(folder / "update-00000040");
}

/// Writes checkpoint after checkpoint until it is killed, and says when the first is there.
[[noreturn]] void save_for_ever(const fs::path& folder, int ready) {
  try {
    CheckpointWriter writer(test_setup(folder, 3));
    for (std::int64_t cut = 1;; ++cut) {
      for (int stage = 0; stage < 3; ++stage) {
        Part part = test_part(stage, cut);
        part.tensors["large"] = at::full({20'000}, static_cast<double>(cut));
        writer.write(part);
      }
      if (cut == 1 && ::write(ready, "1", 1) != 1) ::_exit(2);
    }
  } catch (...) {
    ::_exit(3);
  }
}

TEST(CheckpointWriter, AKilledProcessLeavesACheckpointThatCanBeUsed) {
  const TemporaryFolder folder;
  std::int64_t newest = 0;
  for (int i = 0; i < 40; ++i) {
    const fs::path run = folder / std::to_string(i);
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t process = ::fork();
    ASSERT_GE(process, 0);
    if (process == 0) save_for_ever(run, pipe[1]);
    ::close(pipe[1]);
    char ready = 0;
    ASSERT_EQ(::read(pipe[0], &ready, 1), 1);
    // Spread over some saves, at no particular point of one.
    std::this_thread::sleep_for(std::chrono::microseconds(731 * i));
    ::kill(process, SIGKILL);
    int status = 0;
    ::waitpid(process, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "ended on its own with " << WEXITSTATUS(status);
    ::close(pipe[0]);
    const auto entries = list_checkpoints(run);
    ASSERT_GE(entries.size(), 1U) << i;
    ASSERT_LE(entries.size(), 2U) << i;
    for (const Entry& entry : entries) {
      EXPECT_EQ(verify_checkpoint(entry.path).cut, entry.cut);
      EXPECT_EQ(read_checkpoint(entry.path).stages[2].at("large")[0].item<double>(),
                static_cast<double>(entry.cut));
    }
    newest = std::max(newest, entries.back().cut);
    remove_partial_checkpoints(run);
    EXPECT_EQ(names_in(run).size(), entries.size());
  }
  EXPECT_GT(newest, 1);
}

}  // namespace
}  // namespace penstock::checkpoint
