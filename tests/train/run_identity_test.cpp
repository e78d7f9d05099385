#include "train/run_identity.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/engine_run.h"
#include "support/temporary_folder.h"
#include "train/run_data.h"

namespace penstock::train {
namespace {

using support::TemporaryFolder;

std::map<std::string, std::string> configuration(const std::vector<std::string>& settings) {
  return configuration_identity(tests::small_config(settings));
}

/// A shard of `tokens` ids below 400.
std::string shard(std::size_t tokens, std::size_t changed = static_cast<std::size_t>(-1)) {
  std::string bytes;
  for (std::size_t i = 0; i < tokens; ++i) {
    const std::size_t id = i == changed ? 399 : i * i % 397;
    bytes.push_back(static_cast<char>(id & 0xff));
    bytes.push_back(static_cast<char>(id >> 8));
  }
  return bytes;
}

/// The identity of a run whose training data are these bytes.
checkpoint::Identity with_data(const std::string& train, const std::string& name = "train.bin") {
  const TemporaryFolder folder;
  const auto val = folder.write("val.bin", shard(50));
  const auto config = tests::small_config({"model.vocab=400", "model.seq=8", "data.tokenizer=bytes",
                                           "data.train=" + folder.write(name, train).string(),
                                           "data.val=" + val.string()});
  const RunData data(config, {});
  return identity_of(config, data.prepared());
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(RunIdentity, EveryKeyThatDecidesResultsCounts) {
  const auto usual = configuration({});
  for (const char* setting :
       {"model.rope_base=9999", "pipeline.stages=3", "pipeline.schedule=1f1b",
        "pipeline.micro_batch=3", "pipeline.recompute=block", "pipeline.final_sync_steps=1",
        "optimizer.lr=0.125", "optimizer.beta2=0.75", "correction.name=error_feedback",
        "train.seed=77", "train.clip=0.125", "train.steps=77", "train.threads=7",
        "train.precision=bf16"}) {
    EXPECT_NE(configuration({setting}), usual) << setting;
  }
  EXPECT_EQ(configuration({}), usual);
}

TEST(RunIdentity, OtherKeysDoNot) {
  EXPECT_EQ(configuration({"output.save_every=3", "output.dir=elsewhere", "output.sample=x",
                           "data.train=other.txt", "data.cache=there", "train.watchdog=7",
                           "train.skip_limit=7"}),
            configuration({}));
}

TEST(RunIdentity, AGridIsItsContent) {
  const TemporaryFolder folder;
  const std::string grid = "stage 0: F0 F1 B0 B1 U\nstage 1: F0 B0 F1 B1 U\n";
  const auto with_grid = [&](const char* name, const std::string& text) {
    return configuration({"pipeline.stages=2", "pipeline.micro_batches=2",
                          "pipeline.schedule=" + folder.write(name, text).string()});
  };
  const auto first = with_grid("a.grid", grid);
  EXPECT_EQ(with_grid("b.grid", grid), first);
  EXPECT_NE(with_grid("a.grid", grid + "# note\n"), first);
}

TEST(RunIdentity, ADifferentConfigurationIsNamed) {
  const checkpoint::Identity saved{configuration({}), {}, {}};
  EXPECT_EQ(error_of([&] { require_same_configuration("out", saved, configuration({})); }),
            "no error");
  EXPECT_EQ(
      error_of(
          [&] { require_same_configuration("out", saved, configuration({"train.clip=0.125"})); }),
      "[resume] the checkpoint was made with train.clip = " + saved.configuration.at("train.clip") +
          ", 'out/config.toml' now has 0.125; set it back, or train anew with 'penstock "
          "train out/config.toml'");
}

TEST(RunIdentity, DataIsItsTokensWhereverTheyLie) {
  const auto first = with_data(shard(5000));
  EXPECT_EQ(with_data(shard(5000), "renamed.bin"), first);
  for (const std::size_t changed : {0U, 1023U, 1024U, 2500U, 4999U}) {
    EXPECT_NE(with_data(shard(5000, changed)).data.at("hash"), first.data.at("hash")) << changed;
  }
  const auto shorter = with_data(shard(4999));
  EXPECT_EQ(error_of([&] { require_same_data(first, first); }), "no error");
  EXPECT_EQ(error_of([&] { require_same_data(first, shorter); }),
            "[resume] the data has changed: training tokens 5000 when the run began, 4999 now; put "
            "the earlier files of data.train and data.val back, or train anew");
}

TEST(RunIdentity, WhatTellsTokensApartIsNamed) {
  const checkpoint::Identity then{{}, {{"hash", "aa"}, {"training tokens", "100"}}, {}};
  checkpoint::Identity now = then;
  now.data["hash"] = "bb";
  EXPECT_EQ(error_of([&] { require_same_data(then, now); }),
            "[resume] the data has changed: hash aa when the run began, bb now; put the earlier "
            "files of data.train and data.val back, or train anew");
  now.data["training tokens"] = "99";
  EXPECT_EQ(error_of([&] { require_same_data(then, now); }),
            "[resume] the data has changed: training tokens 100 when the run began, 99 now; put "
            "the earlier files of data.train and data.val back, or train anew");
}

TEST(RunIdentity, LongDataIsLookedAtFromBeginToEnd) {
  // More than a thousand windows of a thousand tokens: not all are read.
  const std::size_t tokens = 1'200'000;
  const auto first = with_data(shard(tokens));
  EXPECT_NE(with_data(shard(tokens, 0)).data.at("hash"), first.data.at("hash"));
  EXPECT_NE(with_data(shard(tokens, tokens - 1)).data.at("hash"), first.data.at("hash"));
  // What the windows miss, the counts of the tokens see.
  EXPECT_NE(with_data(shard(tokens, 1100)).data, first.data);
}

TEST(RunIdentity, OtherMachinesAreNoted) {
  const checkpoint::Identity then{{}, {}, {{"LibTorch", "2.11.0"}, {"processor", "A"}}};
  checkpoint::Identity now = then;
  EXPECT_TRUE(notes_on_origin(then, now).empty());
  now.origin["processor"] = "B";
  EXPECT_EQ(notes_on_origin(then, now),
            std::vector<std::string>{"processor was 'A' when the checkpoint was made and is 'B' "
                                     "now: results may differ in the last bits"});
}

}  // namespace
}  // namespace penstock::train
