#include "train/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "support/engine_run.h"
#include "support/temporary_folder.h"

namespace penstock::train {
namespace {

namespace fs = std::filesystem;
using support::TemporaryFolder;
using testing::HasSubstr;

config::Config config_for(const fs::path& dir, const std::string& setting = "train.seed=0") {
  return tests::small_config({"output.dir=\"" + dir.string() + "\"", setting});
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

/// A finished run of a single weight.
RunFolder finished_run(const config::Config& config) {
  const auto tokenizer = data::make_byte_tokenizer();
  const auto created = create_run_folder(config, tokenizer.get());
  checkpoint::write_safetensors(created.folder.weights(), {{{"a", at::full({2}, 3.0F)}}, {}});
  return created.folder;
}

TEST(RunFolder, NewFolderHasConfigurationAndTokenizerOnly) {
  const TemporaryFolder folder;
  const auto tokenizer = data::make_byte_tokenizer();
  const auto created = create_run_folder(config_for(folder / "deep/run"), tokenizer.get());
  EXPECT_EQ(created.folder.path, folder / "deep/run");
  EXPECT_FALSE(created.moved);
  EXPECT_EQ(names_in(folder / "deep/run"),
            (std::set<std::string>{"config.toml", "tokenizer.json"}));
  EXPECT_EQ(folder.read("deep/run/tokenizer.json"), tokenizer->to_json());
}

TEST(RunFolder, WithoutATokenizerThereIsNoneInTheFolder) {
  const TemporaryFolder folder;
  create_run_folder(config_for(folder / "run"), nullptr);
  EXPECT_EQ(names_in(folder / "run"), std::set<std::string>{"config.toml"});
}

TEST(RunFolder, EarlierRunsMoveToTheFirstFreeNumber) {
  const TemporaryFolder folder;
  create_run_folder(config_for(folder / "run", "train.seed=10"), nullptr);
  const auto moved_by = [&](const char* seed) {
    return create_run_folder(config_for(folder / "run", seed), nullptr).moved;
  };
  EXPECT_EQ(moved_by("train.seed=11"), folder / "run.1");
  EXPECT_EQ(moved_by("train.seed=12"), folder / "run.2");
  EXPECT_THAT(folder.read("run.1/config.toml"), HasSubstr("seed = 10"));
  EXPECT_THAT(folder.read("run.2/config.toml"), HasSubstr("seed = 11"));
  EXPECT_THAT(folder.read("run/config.toml"), HasSubstr("seed = 12"));
  fs::remove_all(folder / "run.1");
  EXPECT_EQ(moved_by("train.seed=13"), folder / "run.1");
  EXPECT_THAT(folder.read("run.2/config.toml"), HasSubstr("seed = 11"));
}

TEST(RunFolder, ARunThatIsBeingWrittenStaysWhereItIs) {
  const TemporaryFolder folder;
  const auto running = create_run_folder(config_for(folder / "run", "train.seed=10"), nullptr);
  EXPECT_THAT(error_of([&] { create_run_folder(config_for(folder / "run"), nullptr); }),
              HasSubstr("is being written by another run; set output.dir"));
  EXPECT_THAT(folder.read("run/config.toml"), HasSubstr("seed = 10"));
  EXPECT_FALSE(fs::exists(folder / "run.1"));
}

TEST(RunFolder, AnyFileOfARunMakesItOne) {
  for (const char* file : {"config.toml", "metrics.jsonl", "model.safetensors"}) {
    const TemporaryFolder folder;
    folder.write(fs::path("run") / file, "old");
    EXPECT_EQ(create_run_folder(config_for(folder / "run"), nullptr).moved, folder / "run.1");
    EXPECT_EQ(folder.read(fs::path("run.1") / file), "old");
  }
}

TEST(RunFolder, FoldersWithOtherFilesAreUsedAsTheyAre) {
  const TemporaryFolder folder;
  folder.write("run/notes.txt", "mine");
  EXPECT_FALSE(create_run_folder(config_for(folder / "run"), nullptr).moved);
  EXPECT_EQ(names_in(folder / "run"), (std::set<std::string>{"config.toml", "notes.txt"}));
}

TEST(RunFolder, ASlashAtTheEndIsNoOtherFolder) {
  const TemporaryFolder folder;
  const fs::path with_slash = (folder / "run").string() + "/";
  EXPECT_EQ(create_run_folder(config_for(with_slash), nullptr).folder.path, folder / "run");
  EXPECT_EQ(create_run_folder(config_for(with_slash), nullptr).moved, folder / "run.1");
}

TEST(RunFolder, AFileInTheWayIsAnError) {
  const TemporaryFolder folder;
  const auto file = folder.write("run", "mine");
  EXPECT_EQ(error_of([&] { create_run_folder(config_for(file), nullptr); }),
            "[output] '" + file.string() +
                "' cannot be made the run folder: Not a directory; set output.dir to one that can "
                "be written");
  EXPECT_EQ(folder.read("run"), "mine");
  EXPECT_THAT(error_of([&] { create_run_folder(config_for(file / "below"), nullptr); }),
              HasSubstr("cannot be made the run folder: Not a directory"));
}

TEST(RunFolder, LoadsWhatWasWritten) {
  const TemporaryFolder folder;
  const auto config = config_for(folder / "run", "train.seed=5");
  finished_run(config);
  const auto run = load_run(folder / "run");
  EXPECT_EQ(run.config, config);
  ASSERT_EQ(run.weights.size(), 1U);
  EXPECT_TRUE(run.weights.at("a").equal(at::full({2}, 3.0F)));
  ASSERT_TRUE(run.tokenizer);
  EXPECT_EQ(run.tokenizer->to_json(), data::make_byte_tokenizer()->to_json());
}

TEST(RunFolder, ATokenizerIsNotNeeded) {
  const TemporaryFolder folder;
  const auto run = finished_run(config_for(folder / "run"));
  fs::remove(run.tokenizer());
  EXPECT_FALSE(load_run(run.path).tokenizer);
}

TEST(RunFolder, WhatIsMissingIsNamed) {
  const TemporaryFolder folder;
  const fs::path path = folder / "run";
  const std::string shown = "'" + path.string() + "'";
  const std::string no_folder =
      "[run] " + shown +
      " is no run folder: it has no config.toml; give the folder that 'penstock train' wrote "
      "(output.dir)";
  EXPECT_EQ(error_of([&] { load_run(path); }), no_folder);
  fs::create_directory(path);
  EXPECT_EQ(error_of([&] { load_run(path); }), no_folder);
  create_run_folder(config_for(path), nullptr);
  EXPECT_EQ(error_of([&] { load_run(path); }),
            "[run] " + shown +
                " has no model.safetensors: the run has not ended or has failed; wait for it, or "
                "stop it with "
                "Ctrl-C, which writes the weights");
  folder.write("run/model.safetensors", "short");
  EXPECT_THAT(error_of([&] { load_run(path); }), HasSubstr("no readable safetensors file"));
}

TEST(RunFolder, BrokenFilesAreNamed) {
  const TemporaryFolder folder;
  const auto run = finished_run(config_for(folder / "run"));
  folder.write("run/tokenizer.json", "{}");
  EXPECT_THAT(error_of([&] { load_run(run.path); }), HasSubstr("run/tokenizer.json"));
  folder.write("run/config.toml", "[model]\nlayer = 1\n");
  EXPECT_THAT(error_of([&] { load_run(run.path); }), HasSubstr("run/config.toml:2"));
}

}  // namespace
}  // namespace penstock::train
