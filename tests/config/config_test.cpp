#include "config/config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "config/print.h"
#include "example_catalogue.h"

namespace penstock::config {
namespace {

using Overrides = std::vector<std::string>;

constexpr const char* small = R"([model]
preset = "nano"

[data]
train = "a.txt"

[train]
steps = 100
)";

Config parse_small(const Overrides& overrides = {}) {
  return parse(small, "runs/small.toml", overrides, example_catalogue());
}

std::string error_of(std::string_view toml, const Overrides& overrides = {}) {
  try {
    (void)parse(toml, "run.toml", overrides, example_catalogue());
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

std::string override_error(const std::string& text) { return error_of(small, {text}); }

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

TEST(Config, FallbackInheritsFromTheOptimizer) {
  const Config config = parse_small(
      {"optimizer.name=muon", "optimizer.lr=0.5", "optimizer.fallback.weight_decay=0.25"});
  EXPECT_EQ(config.fallback->options.at("lr"), Value(0.5));
  EXPECT_EQ(config.fallback->options.at("weight_decay"), Value(0.25));
  EXPECT_EQ(config.fallback->options.at("beta"), Value(0.9));  // Its own default.
  // What [optimizer] did not get either is its default there.
  EXPECT_EQ(parse_small({"optimizer.name=muon"}).fallback->options.at("lr"), Value(0.02));
}

constexpr const char* grouped = R"([model]
preset = "nano"

[data]
train = "a.txt"

[train]
steps = 100

[optimizer]
name = "muon"
lr = 0.5
momentum = 0.25

[optimizer.fallback]
lr = 0.125
beta = 0.75

[[optimizer.group]]
match = "*.q_proj.*"
lr_factor = 2

[[optimizer.group]]
name = "adamw"
match = ["lm_head.*", "*norm*"]
weight_decay = 0
)";

Config parse_grouped(const Overrides& overrides = {}) {
  return parse(grouped, "run.toml", overrides, example_catalogue());
}

TEST(Config, GroupsInTheirOrder) {
  const Config config = parse_grouped();
  ASSERT_EQ(config.groups.size(), 2u);
  EXPECT_EQ(config.groups[0].match, TextList{"*.q_proj.*"});
  EXPECT_EQ(config.groups[0].lr_factor, 2.0);
  EXPECT_EQ(config.groups[1].match, (TextList{"lm_head.*", "*norm*"}));
  EXPECT_EQ(config.groups[1].lr_factor, 1.0);
  EXPECT_TRUE(parse_small().groups.empty());
}

TEST(Config, AGroupInheritsFromTheSectionThatNamesItsOptimizer) {
  const Config config = parse_grouped();
  EXPECT_EQ(config.groups[0].optimizer, config.optimizer) << "the name is that of [optimizer]";
  EXPECT_EQ(config.groups[1].optimizer.name, "adamw");
  EXPECT_EQ(config.groups[1].optimizer.options.at("lr"), Value(0.125));
  EXPECT_EQ(config.groups[1].optimizer.options.at("beta"), Value(0.75));
  EXPECT_EQ(config.groups[1].optimizer.options.at("weight_decay"), Value(0.0));
}

TEST(Config, AGroupOfAnotherOptimizerInheritsAsTheFallbackDoes) {
  // adamw takes every parameter, so what [optimizer.fallback] says counts for nothing.
  const Config config =
      parse_small({"optimizer.lr=0.5", "optimizer.weight_decay=0.25", "optimizer.beta=0.5",
                   "optimizer.fallback.name=muon", "optimizer.fallback.lr=0.125",
                   "optimizer.fallback.momentum=0.75", "optimizer.group.0.match=*",
                   "optimizer.group.0.name=muon", "optimizer.group.1.match=*"});
  const auto& muon = config.groups[0].optimizer.options;
  EXPECT_EQ(muon.at("lr"), Value(0.5));
  EXPECT_EQ(muon.at("weight_decay"), Value(0.25));
  EXPECT_EQ(muon.at("momentum"), Value(0.95)) << "its own default";
  EXPECT_EQ(config.groups[1].optimizer, config.optimizer);
}

TEST(Config, OverridesReachGroupsAndAddThem) {
  const Config config =
      parse_grouped({"optimizer.group.0.lr=0.0625", "optimizer.group.1.match=*",
                     "optimizer.group.2.name=adamw", "optimizer.group.2.match=['a', 'b']"});
  ASSERT_EQ(config.groups.size(), 3u);
  EXPECT_EQ(config.groups[0].optimizer.options.at("lr"), Value(0.0625));
  EXPECT_EQ(config.groups[1].match, TextList{"*"});
  EXPECT_EQ(config.groups[2].match, (TextList{"a", "b"}));
  EXPECT_EQ(parse_small({"optimizer.group.0.match=*"}).groups.size(), 1u);
  EXPECT_EQ(parse(grouped + std::string("[[optimizer.group]]\nmatch = 'x'\n"), "run.toml", {},
                  example_catalogue())
                .groups.back()
                .match,
            TextList{"x"});
}

TEST(Config, MistakesInGroups) {
  const auto error = [](const std::string& text) { return error_of(grouped, {text}); };
  EXPECT_EQ(error("optimizer.group.3.match=*"),
            "[config] optimizer.group.3 in --set would be a new group, but there are 2; call it "
            "optimizer.group.2");
  EXPECT_EQ(error("optimizer.group.2.lr=1"),
            "[config] optimizer.group.2.match = [] has no pattern; set optimizer.group.2.match to "
            "patterns of parameter names, such as \"*_proj.weight\"");
  EXPECT_EQ(error("optimizer.group.0.match="),
            "[config] optimizer.group.0.match = [\"\"] has an empty pattern; set "
            "optimizer.group.0.match to patterns of parameter names, such as \"*_proj.weight\"");
  EXPECT_EQ(error("optimizer.group.lr=1"),
            "[config] 'optimizer.group.lr' in --set names no key of a group; write "
            "optimizer.group.0.<key>");
  EXPECT_EQ(error("optimizer.group.1=1"),
            "[config] 'optimizer.group.1' in --set names no key of a group; write "
            "optimizer.group.1.<key>");
  EXPECT_EQ(error("optimizer.group.01.lr=1"),
            "[config] 'optimizer.group.01.lr' in --set names no key of a group; write "
            "optimizer.group.0.<key>");
  EXPECT_EQ(error("optimizer.group=muon"),
            "[config] 'optimizer.group' in --set is a list of sections; write [[optimizer.group]], "
            "or --set optimizer.group.0.<key>");
  EXPECT_EQ(error("optimizer.group.1.momentum=0.5"),
            "[config] unknown key 'optimizer.group.1.momentum' in --set; did you mean "
            "'optimizer.momentum'? (a group with optimizer 'adamw' has match, lr_factor, name, lr, "
            "weight_decay, beta)");
  EXPECT_EQ(error("optimizer.group.0.lr_facto=0.5"),
            "[config] unknown key 'optimizer.group.0.lr_facto' in --set; did you mean "
            "'optimizer.group.0.lr_factor'? (a group with optimizer 'muon' has match, lr_factor, "
            "name, lr, weight_decay, momentum, nesterov)");
  EXPECT_EQ(error("optimizer.group.1.name=adanw"),
            "[config] optimizer.group.1.name = \"adanw\" (--set) is none of adamw, muon; did you "
            "mean 'adamw'?");
  EXPECT_EQ(error("optimizer.group.1.lr_factor=nan"),
            "[config] optimizer.group.1.lr_factor = nan (--set) is not finite; give a number >= 0");
  EXPECT_EQ(error("optimizer.group.1.lr=-1"),
            "[config] optimizer.group.1.lr = -1 (--set) is out of range; give a number >= 0");
}

TEST(Config, MistakesInGroupsOfAFile) {
  EXPECT_EQ(error_of("[optimizer.group]\nmatch = '*'"),
            "[config] 'optimizer.group' in run.toml:1 is a list of sections; write "
            "[[optimizer.group]], or --set optimizer.group.0.<key>");
  EXPECT_EQ(error_of("[optimizer]\ngroup = 3"),
            "[config] 'optimizer.group' in run.toml:2 is a list of sections; write "
            "[[optimizer.group]], or --set optimizer.group.0.<key>");
  EXPECT_EQ(error_of("[[optimizer.group]]\nmatch = '*'\n[[optimizer.group]]\nmatch = 3"),
            "[config] optimizer.group.1.match = 3 (run.toml:4) is not a text or a list of texts; "
            "give a text in quotes or a list of them");
  EXPECT_EQ(error_of("[[optimizer.group]]\n[optimizer.group.sub]\nlr = 3"),
            "[config] unknown section 'optimizer.group.0.sub' in run.toml:2; did you mean "
            "'optimizer.group'?");
  EXPECT_EQ(error_of("[[optimizer.grup]]\nmatch = '*'"),
            "[config] unknown key 'optimizer.grup' in run.toml:1; optimizer 'adamw' has name, lr, "
            "weight_decay, beta");
}

TEST(Config, AnUnusedMomentumStartIsNoted) {
  EXPECT_EQ(parse_small({"train.momentum_start=0.5"}).notes,
            std::vector<std::string>{"train.momentum_start = 0.5 is not used: "
                                     "train.momentum_warmup and train.momentum_cooldown are 0"});
  EXPECT_TRUE(parse_small({"train.momentum_start=0.85"}).notes.empty());
  EXPECT_TRUE(parse_small({"train.momentum_start=0.5", "train.momentum_warmup=1"}).notes.empty());
  EXPECT_TRUE(parse_small({"train.momentum_start=0.5", "train.momentum_cooldown=1"}).notes.empty());
}

TEST(Config, AnUnusedFallbackIsCheckedAndNoted) {
  const Config config = parse_small({"optimizer.fallback.lr=1"});
  EXPECT_FALSE(config.fallback.has_value());
  EXPECT_EQ(config.notes, std::vector<std::string>{"[optimizer.fallback] is not used: optimizer "
                                                   "'adamw' takes every parameter"});
  EXPECT_EQ(override_error("optimizer.fallback.lr=-1"),
            "[config] optimizer.fallback.lr = -1 (--set) is out of range; give a number >= 0");
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

TEST(Config, UnknownKeys) {
  EXPECT_EQ(error_of("[train]\nsteps = 1\nclipp = 2"),
            "[config] unknown key 'train.clipp' in run.toml:3; did you mean 'train.clip'?");
  EXPECT_EQ(override_error("train.clipp=2"),
            "[config] unknown key 'train.clipp' in --set; did you mean 'train.clip'?");
  EXPECT_EQ(error_of("[output]\nzzz = 2"),
            "[config] unknown key 'output.zzz' in run.toml:2; [output] has dir, sample, "
            "sample_tokens, save_every");
  EXPECT_EQ(error_of("[train]\nmicro_batches = 2"),
            "[config] unknown key 'train.micro_batches' in run.toml:2; "
            "did you mean 'pipeline.micro_batches'?");
  EXPECT_EQ(error_of("steps = 2"),
            "[config] unknown key 'steps' in run.toml:1; did you mean 'train.steps'?");
  EXPECT_EQ(error_of("zzz = 2"),
            "[config] unknown key 'zzz' in run.toml:1; the sections are model, data, pipeline, "
            "optimizer, optimizer.fallback, optimizer.group, correction, train, output");
  EXPECT_EQ(override_error("trian.steps=2"),
            "[config] unknown key 'trian.steps' in --set; did you mean 'train.steps'?");
}

TEST(Config, UnknownKeysOfComponentsListTheComponentsKeys) {
  EXPECT_EQ(error_of("[optimizer]\nname = 'muon'\nmomentun = 0.9"),
            "[config] unknown key 'optimizer.momentun' in run.toml:3; did you mean "
            "'optimizer.momentum'? (optimizer 'muon' has name, lr, weight_decay, momentum, "
            "nesterov)");
  EXPECT_EQ(error_of("[optimizer]\nnesterov = true"),
            "[config] unknown key 'optimizer.nesterov' in run.toml:2; optimizer 'adamw' has name, "
            "lr, weight_decay, beta");
  EXPECT_EQ(error_of("[correction]\nlambda = 1"),
            "[config] unknown key 'correction.lambda' in run.toml:2; correction 'none' has name");
}

TEST(Config, UnknownSections) {
  EXPECT_EQ(error_of("[train]\nsteps = 1\n[optimiser]\nlr = 1"),
            "[config] unknown section 'optimiser' in run.toml:3; did you mean 'optimizer'?");
  EXPECT_EQ(error_of("[trian]"),
            "[config] unknown section 'trian' in run.toml:1; did you mean 'train'?");
  EXPECT_EQ(error_of("[logging]"),
            "[config] unknown section 'logging' in run.toml:1; the sections are model, data, "
            "pipeline, optimizer, optimizer.fallback, optimizer.group, correction, train, output");
  EXPECT_EQ(error_of("train = 3"),
            "[config] 'train' in run.toml:1 is a section; write train.<key> or [train]");
  EXPECT_EQ(error_of("[[train]]\nsteps = 3"),
            "[config] 'train' in run.toml:1 is a section; write train.<key> or [train]");
  EXPECT_EQ(override_error("optimizer=muon"),
            "[config] 'optimizer' in --set is a section; write optimizer.<key> or [optimizer]");
}

TEST(Config, UnknownNames) {
  EXPECT_EQ(override_error("optimizer.name=moun"),
            "[config] optimizer.name = \"moun\" (--set) is none of adamw, muon; "
            "did you mean 'muon'?");
  EXPECT_EQ(error_of("[correction]\nname = 'magic'"),
            "[config] correction.name = \"magic\" (run.toml:2) is none of none, error_feedback, "
            "hindsight; give one of them");
  EXPECT_EQ(override_error("pipeline.schedule=2bv"),
            "[config] pipeline.schedule = \"2bv\" (--set) is none of 1f1b, 2bw, gpipe, "
            "looped, lone, FILE.grid; "
            "did you mean '2bw'?");
  EXPECT_EQ(override_error("model.preset=nanno"),
            "[config] model.preset = \"nanno\" (--set) is none of \"\", nano, bench-10m, "
            "smollm2-135m, smollm2-360m; did you mean 'nano'?");
}

TEST(Config, WrongValues) {
  EXPECT_EQ(override_error("train.clip=3x"),
            "[config] train.clip = 3x (--set) is not a number; give a number >= 0");
  EXPECT_EQ(override_error("train.clip=abc"),
            "[config] train.clip = abc (--set) is not a number; give a number >= 0");
  EXPECT_EQ(override_error("train.clip="),
            "[config] train.clip =  (--set) is not a number; give a number >= 0");
  EXPECT_EQ(override_error("train.clip=1\nsteps=2"),
            "[config] train.clip = 1\nsteps=2 (--set) is not a number; give a number >= 0");
  EXPECT_EQ(override_error("optimizer.lr=nan"),
            "[config] optimizer.lr = nan (--set) is not finite; give a number >= 0");
  EXPECT_EQ(error_of("[optimizer]\nlr = inf"),
            "[config] optimizer.lr = inf (run.toml:2) is not finite; give a number >= 0");
  EXPECT_EQ(error_of("[optimizer]\nlr = '1e-3'"),
            "[config] optimizer.lr = \"1e-3\" (run.toml:2) is not a number; give a number >= 0");
  EXPECT_EQ(error_of("[train]\nsteps = 1e3"),
            "[config] train.steps = 1000.0 (run.toml:2) is not a whole number; write it as 1000");
  EXPECT_EQ(error_of("[train]\nsteps = 2026-11-21"),
            "[config] train.steps = 2026-11-21 (run.toml:2) is not a whole number; "
            "give a whole number in [0, 1000000000000]");
  EXPECT_EQ(error_of("[pipeline]\nstages = 0"),
            "[config] pipeline.stages = 0 (run.toml:2) is out of range; "
            "give a whole number in [1, 1000000]");
  EXPECT_EQ(error_of("[data]\ntrain = ['a', 1]"),
            "[config] data.train = [ 'a', 1 ] (run.toml:2) is not a text or a list of texts; "
            "give a text in quotes or a list of them");
  EXPECT_EQ(override_error("model.tied=yes"),
            "[config] model.tied = yes (--set) is not true or false; give true or false");
  EXPECT_EQ(override_error("output.dir=a\xff"),
            "[config] output.dir = a\xff (--set) is not a text; give a text in quotes");
}

TEST(Config, MalformedOverrides) {
  EXPECT_EQ(override_error("train.clip"),
            "[config] --set 'train.clip' is not an assignment; write --set section.key=value");
  EXPECT_EQ(override_error("=3"),
            "[config] --set '=3' is not an assignment; write --set section.key=value");
}

TEST(Config, MalformedToml) {
  // What follows is the TOML library's own sentence.
  EXPECT_EQ(error_of("[train]\nsteps = \n").rfind("[config] run.toml:2 is not valid TOML: ", 0),
            0u);
  EXPECT_EQ(
      error_of("[train]\nclip = 1\nclip = 2\n").rfind("[config] run.toml:3 is not valid TOML: ", 0),
      0u);
  EXPECT_EQ(error_of("a = \"\xff\"").rfind("[config] run.toml:1 is not valid TOML: ", 0), 0u);
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
