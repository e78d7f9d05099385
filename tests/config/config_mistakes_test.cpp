#include <gtest/gtest.h>

#include "parsed.h"

namespace penstock::config {
namespace {

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

}  // namespace
}  // namespace penstock::config
