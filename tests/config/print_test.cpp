#include "config/print.h"

#include <gtest/gtest.h>

#include "config/sections.h"
#include "example_catalogue.h"

namespace penstock::config {
namespace {

Config example(std::vector<std::string> overrides = {}) {
  overrides.emplace_back("train.steps=10");
  return parse("[model]\npreset = 'bench-10m'\n[data]\ntrain = ['a.txt', \"b \\\"q\\\".txt\"]",
               "x/quick.toml", overrides, example_catalogue());
}

const std::vector<std::vector<std::string>>& variants() {
  static const std::vector<std::vector<std::string>> all = {
      {},
      {"optimizer.name=muon", "optimizer.fallback.lr=1e-3", "correction.name=error_feedback"},
      {"optimizer.name=muon", "optimizer.group.0.match=['*', 'a\"b\\\\c?']",
       "optimizer.group.0.lr_factor=0.1", "optimizer.group.1.match=x",
       "optimizer.group.1.name=adamw", "optimizer.group.1.beta=0.5", "optimizer.group.2.match=y"},
      {"train.lr_schedule=wsd", "train.decay=3", "train.momentum_warmup=1",
       "train.momentum_cooldown=2", "train.momentum_start=0.7"},
      {"pipeline.stages=2", "pipeline.micro_batches=4", "pipeline.partition=[5,13]"},
      {"optimizer.lr=0.30000000000000004", "model.rope_base=1e300", "model.norm_eps=1e-7"},
      {"output.sample=tab\tquote\" grüße", "data.val=v.txt", "train.precision=bf16",
       "model.preset="  // A later variant of the shape: every number by hand.
       ,
       "model.layers=2", "model.width=64", "model.heads=2", "model.ff=96", "model.vocab=500",
       "model.seq=8"}};
  return all;
}

TEST(ToToml, RoundTripsExactly) {
  for (const auto& overrides : variants()) {
    const Config config = example(overrides);
    const Config again = parse(to_toml(config), "other.toml", {}, example_catalogue());
    EXPECT_EQ(again, config) << to_toml(config);
    EXPECT_EQ(to_toml(again), to_toml(config));
  }
}

TEST(ToToml, TokensInsteadOfSteps) {
  const Config config = parse("model.preset='nano'\ndata.train='a'\ntrain.tokens=100000", "a.toml",
                              {}, example_catalogue());
  const std::string text = to_toml(config);
  EXPECT_NE(text.find("tokens = 100000\n"), std::string::npos);
  EXPECT_EQ(text.find("\nsteps"), std::string::npos);
  EXPECT_EQ(parse(text, "b.toml", {}, example_catalogue()), config);
}

TEST(ToToml, EveryKeyIsThere) {
  Config config = example(
      {"optimizer.name=muon", "correction.name=error_feedback", "optimizer.group.0.match=*"});
  const std::string text = to_toml(config);
  for (const std::string& name : section_names(config)) {
    const std::string heading = group_number(name) ? "[[optimizer.group]]\n" : "[" + name + "]\n";
    EXPECT_NE(text.find(heading), std::string::npos) << name;
    for (const OptionSpec& spec : view_section(name, config, example_catalogue()).options) {
      if (spec.key == "tokens") continue;
      EXPECT_NE(text.find("\n" + spec.key + " = "), std::string::npos) << spec.key;
    }
  }
}

TEST(Equality, SeesEverySection) {
  for (const std::string change :
       {"model.seq=8", "data.cache=x", "pipeline.micro_batches=2", "optimizer.lr=0.5",
        "optimizer.name=muon", "correction.name=error_feedback", "train.seed=1", "output.dir=x",
        "optimizer.group.0.match=*"}) {
    EXPECT_FALSE(example({change}) == example()) << change;
  }
  EXPECT_FALSE(example({"optimizer.name=muon"}) ==
               example({"optimizer.name=muon", "optimizer.fallback.beta=0.5"}));
  for (const std::string change : {"match=y", "lr_factor=2", "name=muon", "lr=0.5"}) {
    EXPECT_FALSE(example({"optimizer.group.0.match=x", "optimizer.group.0." + change}) ==
                 example({"optimizer.group.0.match=x"}))
        << change;
  }
  Config noted = example();
  noted.notes.emplace_back("something");
  EXPECT_EQ(noted, example());
}

TEST(Table, MarksWhatDiffersFromTheDefault) {
  const Config config =
      example({"model.seq=128", "optimizer.name=muon", "optimizer.lr=0.01",
               "optimizer.fallback.weight_decay=0", "correction.name=error_feedback"});
  EXPECT_EQ(table(config, example_catalogue()),
            R"([model]
* preset             "bench-10m"               (default "")
  layers             8
  width              256
  heads              4
  kv_heads           2
  ff                 768
  vocab              8192
* seq                128                       (default 256)
  tied               false
  norm_eps           1e-05
  rope_base          10000.0
[data]
* train              ["a.txt", "b \"q\".txt"]  (default [])
  val                []
  tokenizer          "bytes"
  val_fraction       0.01
  separator          ""
  cache              ""
[pipeline]
  stages             1
  schedule           "1f1b"
  chunks             1
  micro_batches      1
  micro_batch        1
  partition          "auto"
  recompute          "none"
  sync_steps         0
  final_sync_steps   0
[optimizer]
* name               "muon"                    (default "adamw")
* lr                 0.01                      (default 0.02)
  weight_decay       0.1
  momentum           0.95
  nesterov           true
[optimizer.fallback]
  name               "adamw"
  lr                 0.01
* weight_decay       0.0                       (default 0.1)
  beta               0.9
[correction]
* name               "error_feedback"          (default "none")
  lambda             1.0
[train]
  steps              10
  lr_schedule        "cosine"
  warmup             0
  decay              0
  final_lr           0.1
  momentum_warmup    0
  momentum_cooldown  0
  momentum_start     0.85
  clip               1.0
  precision          "fp32"
  device             "cpu"
  seed               0
  threads            0
  eval_every         0
  eval_sequences     64
  skip_limit         10
  watchdog           60.0
[output]
  dir                "runs/quick"
  sample             ""
  sample_tokens      200
  save_every         0
)");
}

TEST(Table, GroupsAsOverridesCallThem) {
  const Config config = example({"optimizer.name=muon", "optimizer.group.0.match=*norm*",
                                 "optimizer.group.1.match=['a', 'b']",
                                 "optimizer.group.1.name=adamw", "optimizer.group.1.lr_factor=2"});
  const std::string text = table(config, example_catalogue());
  const auto begin = text.find("[optimizer.group.0]\n");
  ASSERT_NE(begin, std::string::npos);
  EXPECT_EQ(text.substr(begin, text.find("[correction]") - begin),
            R"([optimizer.group.0]
* match              ["*norm*"]                (default [])
  lr_factor          1.0
  name               "muon"
  lr                 0.02
  weight_decay       0.1
  momentum           0.95
  nesterov           true
[optimizer.group.1]
* match              ["a", "b"]                (default [])
* lr_factor          2.0                       (default 1.0)
* name               "adamw"                   (default "muon")
  lr                 0.02
  weight_decay       0.1
  beta               0.9
)");
}

TEST(ViewSection, TheListHasTheKeysOfAllGroups) {
  Config config = example({"optimizer.group.0.match=x", "optimizer.group.1.match=y"});
  const SectionView list = view_section("optimizer.group", config, Catalogue{});
  const SectionView second = view_section("optimizer.group.1", config, Catalogue{});
  EXPECT_EQ(list.options.size(), 2 * second.options.size());
  EXPECT_EQ(list.get("0.match"), Value(TextList{"x"}));
  EXPECT_EQ(list.get("1.match"), Value(TextList{"y"}));
  EXPECT_EQ(list.get("1.lr"), second.get("lr"));
  list.set("1.lr_factor", Value(3.0));
  EXPECT_EQ(config.groups[1].lr_factor, 3.0);
  Config without = example();
  EXPECT_TRUE(view_section("optimizer.group", without, Catalogue{}).options.empty());
}

TEST(GroupNumber, OfNamesOfGroupsOnly) {
  EXPECT_EQ(group_number("optimizer.group.0"), 0u);
  EXPECT_EQ(group_number("optimizer.group.120"), 120u);
  EXPECT_EQ(group_number(group_name(7)), 7u);
  for (const char* other : {"optimizer.group", "optimizer.group.", "optimizer.group.01",
                            "optimizer.group.1.lr", "optimizer.group.x", "optimizer.group.-1",
                            "optimizer.groups.1", "optimizer.group.99999999999999999999"}) {
    EXPECT_EQ(group_number(other), std::nullopt) << other;
  }
}

TEST(DescribeOptions, NamesEveryOptionOnce) {
  const std::string text = describe_options(example_catalogue());
  Config config;
  for (const OptionInfo& info : train_options().infos()) {
    EXPECT_NE(text.find("  " + info.key + " = " + info.default_text + "    ("), std::string::npos)
        << info.key;
    EXPECT_NE(text.find("      " + info.help + "\n"), std::string::npos) << info.key;
  }
  EXPECT_NE(text.find("  clip = 1.0    (number >= 0)\n"
                      "      limit of the global gradient norm; 0 is off\n"),
            std::string::npos);
  EXPECT_NE(
      text.find("  schedule = \"1f1b\"    (1f1b | 2bw | gpipe | looped | lone | FILE.grid)\n"),
      std::string::npos);
  EXPECT_NE(text.find("  adamw: adaptive steps [Paper A]\n    lr = 0.0003    (number >= 0)\n"),
            std::string::npos);
  EXPECT_NE(text.find("  muon: orthogonal steps\n"), std::string::npos);
  EXPECT_NE(text.find("  error_feedback: adds what was missed [Paper B]\n"
                      "    lambda = 1.0    (number in [0, 2])\n"),
            std::string::npos);
  EXPECT_NE(text.find("\n[[optimizer.group]]  "), std::string::npos);
  EXPECT_NE(text.find("  match = []    (text or list of texts)\n"), std::string::npos);
  EXPECT_NE(text.find("  lr_factor = 1.0    (number >= 0)\n"), std::string::npos);
  EXPECT_NE(text.find("    nano: layers "), std::string::npos);
  EXPECT_NE(text.find("    2bw: without flush\n"), std::string::npos);
}

}  // namespace
}  // namespace penstock::config
