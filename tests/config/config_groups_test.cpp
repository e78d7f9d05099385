#include <gtest/gtest.h>

#include "config/print.h"
#include "parsed.h"

namespace penstock::config {
namespace {

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

TEST(Config, AnUnusedFallbackIsCheckedAndNoted) {
  const Config config = parse_small({"optimizer.fallback.lr=1"});
  EXPECT_FALSE(config.fallback.has_value());
  EXPECT_EQ(config.notes, std::vector<std::string>{"[optimizer.fallback] is not used: optimizer "
                                                   "'adamw' takes every parameter"});
  EXPECT_EQ(override_error("optimizer.fallback.lr=-1"),
            "[config] optimizer.fallback.lr = -1 (--set) is out of range; give a number >= 0");
}

}  // namespace
}  // namespace penstock::config
