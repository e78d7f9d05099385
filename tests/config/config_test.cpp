#include "config/config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "config/print.h"
#include "parsed.h"

namespace penstock::config {
namespace {

TEST(Config, DefaultsAndPreset) {
  const Config config = parse_small();
  EXPECT_EQ(config.model.preset, "nano");
  EXPECT_GT(config.model.layers, 0);
  EXPECT_EQ(config.model.norm_eps, 1e-5);
  EXPECT_EQ(config.model.rope_base, 10000.0);
  EXPECT_EQ(config.data.train, TextList{"a.txt"});
  EXPECT_TRUE(config.data.val.empty());
  EXPECT_EQ(config.data.tokenizer, "bytes");
  EXPECT_EQ(config.data.val_fraction, 0.01);
  EXPECT_EQ(config.pipeline.stages, 1);
  EXPECT_EQ(config.pipeline.schedule, "1f1b");
  EXPECT_TRUE(config.pipeline.partition.empty());
  EXPECT_EQ(config.optimizer.name, "adamw");
  EXPECT_EQ(config.optimizer.options.at("lr"), Value(3e-4));
  EXPECT_FALSE(config.fallback.has_value());
  EXPECT_EQ(config.correction.name, "none");
  EXPECT_TRUE(config.correction.options.empty());
  EXPECT_EQ(config.train.steps, 100);
  EXPECT_EQ(config.train.final_lr, 0.1);
  EXPECT_EQ(config.train.clip, 1.0);
  EXPECT_EQ(config.train.precision, Precision::fp32);
  EXPECT_EQ(config.train.eval_sequences, 64);
  EXPECT_EQ(config.output.dir, "runs/small");
  EXPECT_TRUE(config.notes.empty());
}

TEST(Config, ReadsEverySection) {
  const Config config = parse(R"(
[model]
layers = 2
width = 64
heads = 4
ff = 1_000
vocab = 300
seq = 32
tied = true
norm_eps = 1e-6
rope_base = 500000
[data]
train = ["a.txt", "b/*.py"]
val = "c.txt"
tokenizer = "own.json"
[pipeline]
stages = 2
schedule = "2bw"
micro_batches = 4
micro_batch = 8
partition = [2, 4]
[optimizer]
name = "muon"
lr = 0.01
momentum = 0.5
[optimizer.fallback]
weight_decay = 0
[correction]
name = "error_feedback"
lambda = 0.5
[train]
tokens = 10240
warmup = 3
precision = "bf16"
seed = 7
[output]
dir = "out"
sample = "def "
)",
                              "run.toml", {}, example_catalogue());
  EXPECT_EQ(config.model.kv_heads, 4);  // As many as heads.
  EXPECT_EQ(config.model.ff, 1000);
  EXPECT_EQ(config.model.rope_base, 500000.0);
  EXPECT_TRUE(config.model.tied);
  EXPECT_EQ(config.data.train, (TextList{"a.txt", "b/*.py"}));
  EXPECT_EQ(config.data.val, TextList{"c.txt"});
  EXPECT_EQ(config.pipeline.schedule, "2bw");
  EXPECT_EQ(config.pipeline.partition, (IntegerList{2, 4}));
  const MatrixOptions muon = matrix_options().read(config.optimizer.options);
  EXPECT_EQ(muon.lr, 0.01);
  EXPECT_EQ(muon.momentum, 0.5);
  EXPECT_EQ(muon.weight_decay, 0.1);
  EXPECT_TRUE(muon.nesterov);
  ASSERT_TRUE(config.fallback.has_value());
  EXPECT_EQ(config.fallback->name, "adamw");
  EXPECT_EQ(config.correction.options.at("lambda"), Value(0.5));
  EXPECT_EQ(config.train.precision, Precision::bf16);
  EXPECT_EQ(config.tokens_per_update(), 4 * 8 * 32);
  EXPECT_EQ(config.updates(), 10);
  EXPECT_EQ(config.units(), 6);
  EXPECT_EQ(config.output.dir, "out");
}

TEST(Config, ExplicitKeysOverrideThePreset) {
  const Config config = parse_small({"model.layers=7", "model.tied=false"});
  EXPECT_EQ(config.model.layers, 7);
  EXPECT_FALSE(config.model.tied);
  EXPECT_EQ(config.model.width, parse_small().model.width);
}

TEST(Config, OverridesAreTyped) {
  const Config config = parse_small(
      {"optimizer.name=muon", "data.train=b.txt", "optimizer.fallback.lr=1e-3", "pipeline.stages=2",
       "pipeline.micro_batches = 2", "pipeline.partition=[4,6]", "train.clip=1", "output.dir=2026",
       "output.sample='def '", "data.tokenizer=\"bpe\""});
  EXPECT_EQ(config.optimizer.name, "muon");
  EXPECT_EQ(config.data.train, TextList{"b.txt"});
  EXPECT_EQ(config.fallback->options.at("lr"), Value(1e-3));
  EXPECT_EQ(config.pipeline.partition, (IntegerList{4, 6}));
  EXPECT_EQ(config.train.clip, 1.0);
  EXPECT_EQ(config.output.dir, "2026");
  EXPECT_EQ(config.output.sample, "def ");
  EXPECT_EQ(config.data.tokenizer, "bpe");
  EXPECT_EQ(parse_small({"data.train=[\"a\", \"b\"]"}).data.train, (TextList{"a", "b"}));
  EXPECT_EQ(parse_small({"output.sample=a = b"}).output.sample, "a = b");
  EXPECT_EQ(parse_small({"output.sample="}).output.sample, "");
}

TEST(Config, TheLastOfEqualOverridesWins) {
  EXPECT_EQ(parse_small({"train.steps=5", "train.steps=6"}).train.steps, 6);
}

TEST(Config, AnUnusedMomentumStartIsNoted) {
  EXPECT_EQ(parse_small({"train.momentum_start=0.5"}).notes,
            std::vector<std::string>{"train.momentum_start = 0.5 is not used: "
                                     "train.momentum_warmup and train.momentum_cooldown are 0"});
  EXPECT_TRUE(parse_small({"train.momentum_start=0.85"}).notes.empty());
  EXPECT_TRUE(parse_small({"train.momentum_start=0.5", "train.momentum_warmup=1"}).notes.empty());
  EXPECT_TRUE(parse_small({"train.momentum_start=0.5", "train.momentum_cooldown=1"}).notes.empty());
}

TEST(Config, RoundedTokensAreNoted) {
  const Config config =
      parse("[model]\npreset='nano'\nseq=10\n[data]\ntrain='a'\n[train]\ntokens=25", "run.toml", {},
            example_catalogue());
  EXPECT_EQ(config.updates(), 2);
  EXPECT_EQ(config.notes,
            std::vector<std::string>{"train.tokens = 25 is no whole number of updates: 2 updates "
                                     "of 10 tokens train on 20"});
}

TEST(Config, ZeroStepsNeedNoData) {
  const Config config = parse("model.preset = 'nano'\ntrain.steps = 0\ntrain.warmup = 5",
                              "run.toml", {}, example_catalogue());
  EXPECT_EQ(config.updates(), 0);
}

class ConfigFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("config_test_" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string error_of_loading(const std::filesystem::path& path) {
    try {
      (void)load(path, {}, example_catalogue());
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  }

  std::filesystem::path folder_;
};

TEST_F(ConfigFile, LoadsAFile) {
  const std::filesystem::path path = folder_ / "first.run.toml";
  std::ofstream(path) << small;
  const Config config = load(path, {"train.steps=3"}, example_catalogue());
  EXPECT_EQ(config.train.steps, 3);
  EXPECT_EQ(config.output.dir, "runs/first.run");
}

TEST_F(ConfigFile, MissingFileFolderAndEmptyFile) {
  const std::string missing = (folder_ / "none.toml").string();
  EXPECT_EQ(error_of_loading(missing), "[config] cannot read '" + missing +
                                           "': No such file or directory; give the path of a TOML "
                                           "file");
  EXPECT_EQ(error_of_loading(folder_), "[config] cannot read '" + folder_.string() +
                                           "': Is a directory; give the path of a TOML file");
  std::ofstream(folder_ / "empty.toml");
  EXPECT_EQ(error_of_loading(folder_ / "empty.toml"),
            "[config] model.layers is not given; set model.preset or model.layers");
}

}  // namespace
}  // namespace penstock::config
