#include "train/resume.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/safetensors.h"
#include "config/print.h"
#include "observe/metrics.h"
#include "support/engine_run.h"
#include "support/temporary_folder.h"
#include "train/run_identity.h"

namespace penstock::train {
namespace {

namespace fs = std::filesystem;
using support::TemporaryFolder;

const std::string advice =
    "; put back what was written, or remove the folder and start from an older checkpoint or anew";

/// A killed run of two stages and ten updates with a checkpoint at update 4 and records up to 6.
class Resume : public testing::Test {
 protected:
  Resume() : config_(with({})) {
    create_run_folder(config_, nullptr);
    observe::MetricsWriter metrics(run_.metrics());
    for (std::int64_t step = 1; step <= 6; ++step) {
      observe::UpdateRecord record;
      record.step = step;
      metrics.write(record);
    }
    save(2, 4);
  }

  config::Config with(const std::vector<std::string>& settings) const {
    std::vector<std::string> all{"output.dir=\"" + run_.path.string() + "\"", "train.steps=10",
                                 "pipeline.stages=2", "pipeline.schedule=1f1b"};
    all.insert(all.end(), settings.begin(), settings.end());
    return tests::small_config(all);
  }

  void save(int stages, std::int64_t cut) const {
    checkpoint::CheckpointWriter writer({.folder = run_.checkpoints(),
                                         .stages = stages,
                                         .identity = {configuration_identity(config_), {}, {}},
                                         .before_publication = nullptr});
    for (int stage = 0; stage < stages; ++stage) {
      writer.write({stage, cut, {{"weights", at::full({4}, static_cast<double>(stage))}}});
    }
  }

  void write_weights(std::int64_t updates) const {
    checkpoint::write_safetensors(
        run_.weights(), {{{"a", at::ones({2})}}, {{updates_key, std::to_string(updates)}}});
  }

  void write_config(const config::Config& config) const {
    folder_.write("run/config.toml", config::to_toml(config));
  }

  std::string error() const { return error_at(run_.path); }

  std::string error_at(const fs::path& path) const {
    try {
      open_stopped_run(path);
    } catch (const UserError& error) {
      std::string what = error.what();
      const std::string prefix = folder_.path().string() + "/";
      for (auto at = what.find(prefix); at != std::string::npos; at = what.find(prefix)) {
        what.erase(at, prefix.size());
      }
      return what;
    }
    return "no error";
  }

  const TemporaryFolder folder_;
  const RunFolder run_{folder_ / "run"};
  const config::Config config_;
};

TEST_F(Resume, FindsTheRunAndItsCheckpoint) {
  auto run = open_stopped_run(run_.path);
  EXPECT_EQ(run.folder.path, run_.path);
  EXPECT_EQ(run.config, config_);
  EXPECT_EQ(run.checkpoint, run_.checkpoints() / "update-00000004");
  EXPECT_EQ(run.manifest.cut, 4);
  const auto state = read_state(run);
  ASSERT_EQ(state.stages.size(), 2U);
  EXPECT_EQ(state.stages[1].stage, 1);
  EXPECT_EQ(state.stages[1].cut, 4);
  EXPECT_TRUE(state.stages[1].tensors.at("weights").equal(at::ones({4})));
  EXPECT_EQ(state.metrics.updates.size(), 4U);
}

TEST_F(Resume, RewindsTheFolderToTheCut) {
  folder_.write("run/checkpoints/update-00000006.partial/stage-0000.safetensors", "half");
  const auto run = open_stopped_run(run_.path);
  const auto state = read_state(run);
  EXPECT_EQ(read_kept_metrics(run_.metrics(), 6).updates.size(), 6U);
  rewind(run, state.metrics);
  EXPECT_EQ(folder_.read("run/metrics.jsonl"), state.metrics.text);
  EXPECT_EQ(read_kept_metrics(run_.metrics(), 4).updates.size(), 4U);
  EXPECT_FALSE(fs::exists(run_.checkpoints() / "update-00000006.partial"));
  EXPECT_TRUE(fs::exists(run_.checkpoints() / "update-00000004"));
}

TEST_F(Resume, AMovedFolderIsTheRunsFolder) {
  fs::rename(run_.path, folder_ / "moved");
  const auto run = open_stopped_run((folder_ / "moved").string() + "/");
  EXPECT_EQ(run.folder.path, folder_ / "moved");
  EXPECT_EQ(run.config.output.dir, (folder_ / "moved").string());
}

TEST_F(Resume, TheNewestCheckpointIsTaken) {
  save(2, 6);
  EXPECT_EQ(open_stopped_run(run_.path).manifest.cut, 6);
}

TEST_F(Resume, FoldersOfNoRun) {
  const std::string problem =
      " is no run folder: it has no config.toml; give the folder that 'penstock train' wrote "
      "(output.dir)";
  EXPECT_EQ(error_at(folder_ / "none"), "[resume] 'none'" + problem);
  fs::create_directory(folder_ / "empty");
  EXPECT_EQ(error_at(folder_ / "empty"), "[resume] 'empty'" + problem);
  EXPECT_EQ(error_at(run_.config()), "[resume] 'run/config.toml'" + problem);
}

TEST_F(Resume, ARunThatIsBeingWritten) {
  const FolderLock lock(run_.path);
  EXPECT_EQ(error(),
            "[resume] 'run' is being written by another run; wait for that run, or stop it");
}

TEST_F(Resume, ARunWithoutACheckpoint) {
  fs::remove_all(run_.checkpoints() / "update-00000004");
  folder_.write("run/checkpoints/update-00000006.partial/manifest.json", "{}");
  EXPECT_EQ(error(),
            "[resume] 'run' has no checkpoint to go on from; train with --save-every N "
            "(output.save_every), which writes one every N updates");
}

TEST_F(Resume, AFinishedRun) {
  write_weights(10);
  EXPECT_EQ(error(),
            "[resume] 'run' has finished: its 10 updates are done and model.safetensors is "
            "written; use it, or train anew with 'penstock train'");
}

TEST_F(Resume, WeightsOfAnInterruptedRunAreNotTheEnd) {
  write_weights(6);
  EXPECT_EQ(error(), "no error");
  checkpoint::write_safetensors(run_.weights(), {{{"a", at::ones({2})}}, {}});
  EXPECT_EQ(error(), "no error");
  folder_.write("run/model.safetensors", "damaged");
  EXPECT_EQ(error(), "no error");
}

TEST_F(Resume, AForeignConfiguration) {
  write_config(with({"train.clip=0.25"}));
  EXPECT_EQ(error(),
            "[resume] the checkpoint was made with train.clip = 0.5, 'run/config.toml' now has "
            "0.25; set it back, or train anew with 'penstock train run/config.toml'");
  write_config(with({"output.save_every=3", "train.watchdog=5"}));
  EXPECT_EQ(open_stopped_run(run_.path).config.output.save_every, 3);
  folder_.write("run/config.toml", "[model]\nlayer = 1\n");
  EXPECT_NE(error().find("run/config.toml:2"), std::string::npos);
}

TEST_F(Resume, DamagedCheckpointsChangeNothing) {
  const fs::path file = run_.checkpoints() / "update-00000004/stage-0001.safetensors";
  folder_.write("run/checkpoints/update-00000006.partial/x", "half");
  const std::string metrics = folder_.read("run/metrics.jsonl");
  fs::resize_file(file, fs::file_size(file) - 1);
  EXPECT_EQ(error(),
            "[resume] checkpoint 'run/checkpoints/update-00000004' is damaged: "
            "'stage-0001.safetensors' has " +
                std::to_string(fs::file_size(file)) + " bytes, not " +
                std::to_string(fs::file_size(file) + 1) + advice);
  fs::remove(file);
  EXPECT_EQ(error(),
            "[resume] checkpoint 'run/checkpoints/update-00000004' lacks "
            "'stage-0001.safetensors'" +
                advice);
  EXPECT_EQ(folder_.read("run/metrics.jsonl"), metrics);
  EXPECT_TRUE(fs::exists(run_.checkpoints() / "update-00000006.partial/x"));
}

TEST_F(Resume, CheckpointsOfAnotherShape) {
  save(3, 6);
  EXPECT_EQ(error(),
            "[resume] checkpoint 'run/checkpoints/update-00000006' is of update 6 on 3 "
            "stages, the run has 10 updates on 2 stages" +
                advice);
  fs::remove_all(run_.checkpoints());
  save(2, 11);
  EXPECT_EQ(error(),
            "[resume] checkpoint 'run/checkpoints/update-00000011' is of update 11 on 2 "
            "stages, the run has 10 updates on 2 stages" +
                advice);
}

}  // namespace
}  // namespace penstock::train
