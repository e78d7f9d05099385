#include "optim/routing.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "config/example_catalogue.h"

namespace penstock::optim {
namespace {

using config::Config;
using Overrides = std::vector<std::string>;
using Parameters = std::vector<ParameterInfo>;

ParameterInfo matrix(std::string name, std::int64_t rows, std::int64_t columns) {
  return {.name = std::move(name), .shape = {rows, columns}, .is_block_matrix = true};
}

ParameterInfo gain(std::string name) {
  return {.name = std::move(name), .shape = {8}, .is_gain = true};
}

/// A model of two layers, its parameters named as model/units.cpp does.
Parameters parameters() {
  Parameters all = {{.name = "model.embed_tokens.weight", .shape = {50, 8}}};
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    all.push_back(gain(layer + "input_layernorm.weight"));
    all.push_back(matrix(layer + "self_attn.q_proj.weight", 8, 8));
    all.push_back(matrix(layer + "self_attn.k_proj.weight", 4, 8));
    all.push_back(gain(layer + "post_attention_layernorm.weight"));
    all.push_back(matrix(layer + "mlp.up_proj.weight", 16, 8));
  }
  all.push_back(gain("model.norm.weight"));
  all.push_back({.name = "lm_head.weight", .shape = {50, 8}});
  return all;
}

Config configure(Overrides overrides) {
  overrides.emplace_back("optimizer.weight_decay=0.1");
  return config::parse("model.preset = 'nano'\ndata.train = 'a'\ntrain.steps = 1", "run.toml",
                       overrides, config::example_catalogue());
}

std::vector<Route> route_with(const Overrides& overrides) {
  return route(configure(overrides), parameters(), config::example_catalogue().optimizers);
}

/// The route of the parameter called `name`.
Route route_of(const std::string& name, const Overrides& overrides) {
  const auto all = parameters();
  const auto routes = route_with(overrides);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].name == name) return routes.at(i);
  }
  throw std::logic_error("no such parameter");
}

std::string error_of(const Overrides& overrides) {
  try {
    (void)route_with(overrides);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

constexpr const char* q_proj = "model.layers.1.self_attn.q_proj.weight";
constexpr const char* norm = "model.layers.0.input_layernorm.weight";
constexpr const char* embedding = "model.embed_tokens.weight";
constexpr const char* head = "lm_head.weight";

TEST(Matches, StarsAndQuestionMarks) {
  EXPECT_TRUE(matches("*", ""));
  EXPECT_TRUE(matches("", ""));
  EXPECT_TRUE(matches("*", "a.b.c"));
  EXPECT_TRUE(matches("a.b", "a.b"));
  EXPECT_TRUE(matches("a*c", "ac"));
  EXPECT_TRUE(matches("a*c", "a.b.c"));
  EXPECT_TRUE(matches("a?c", "abc"));
  EXPECT_TRUE(matches("*.q_proj.*", q_proj));
  EXPECT_TRUE(matches("*ab*ab", "abxab"));
  EXPECT_TRUE(matches("*ab", "aab")) << "the star gives back what it took too early";
  EXPECT_TRUE(matches("**?", "x"));
  EXPECT_FALSE(matches("", "a"));
  EXPECT_FALSE(matches("a", ""));
  EXPECT_FALSE(matches("?", ""));
  EXPECT_FALSE(matches("a", "ab")) << "the whole name";
  EXPECT_FALSE(matches("b", "ab"));
  EXPECT_FALSE(matches("a?c", "ac"));
  EXPECT_FALSE(matches("a.c", "abc")) << "a dot is a dot";
  EXPECT_FALSE(matches("A", "a"));
  EXPECT_FALSE(matches("a*b", "a.c"));
}

/// By definition, one character after the other.
bool matches_by_definition(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() == '*') {
    return matches_by_definition(pattern.substr(1), name) ||
           (!name.empty() && matches_by_definition(pattern, name.substr(1)));
  }
  const bool fits = !name.empty() && (pattern.front() == '?' || pattern.front() == name.front());
  return fits && matches_by_definition(pattern.substr(1), name.substr(1));
}

std::string counted(std::size_t number, std::string_view letters) {
  std::string text;
  for (; number > 0; number /= letters.size() + 1) {
    const std::size_t digit = number % (letters.size() + 1);
    if (digit > 0) text += letters[digit - 1];
  }
  return text;
}

TEST(Matches, AgreesWithItsDefinitionOnAllShortTexts) {
  for (std::size_t p = 0; p < 5 * 5 * 5 * 5; ++p) {
    const std::string pattern = counted(p, "a*?.");
    for (std::size_t n = 0; n < 3 * 3 * 3 * 3 * 3; ++n) {
      const std::string name = counted(n, "a.");
      ASSERT_EQ(matches(pattern, name), matches_by_definition(pattern, name))
          << pattern << " " << name;
    }
  }
}

TEST(Route, AnOptimizerForEverythingGetsEverything) {
  const auto routes = route_with({});
  const auto all = parameters();
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(routes[i].rule, Rule::optimizer) << all[i].name;
    EXPECT_EQ(routes[i].weight_decay, all[i].is_gain ? 0.0 : 0.1) << all[i].name;
    EXPECT_EQ(routes[i].lr_factor, 1.0);
  }
}

TEST(Route, AnOptimizerForMatricesGetsThoseOfTheBlocks) {
  const Overrides muon = {"optimizer.name=muon", "optimizer.fallback.weight_decay=0.25"};
  EXPECT_EQ(route_of(q_proj, muon), (Route{.rule = Rule::optimizer, .weight_decay = 0.1}));
  EXPECT_EQ(route_of(embedding, muon), (Route{.rule = Rule::fallback, .weight_decay = 0.25}));
  EXPECT_EQ(route_of(head, muon), (Route{.rule = Rule::fallback, .weight_decay = 0.25}));
  EXPECT_EQ(route_of(norm, muon), (Route{.rule = Rule::fallback, .weight_decay = 0}));
}

TEST(Route, TheFirstGroupThatMatchesWins) {
  const Overrides overrides = {
      "optimizer.name=muon",           "optimizer.group.0.match=*.1.*.q_proj.*",
      "optimizer.group.0.lr_factor=2", "optimizer.group.1.match=['*q_proj*', '*norm*']",
      "optimizer.group.1.name=adamw",  "optimizer.group.1.weight_decay=0.5"};
  EXPECT_EQ(route_of(q_proj, overrides),
            (Route{.rule = Rule::group, .group = 0, .lr_factor = 2, .weight_decay = 0.1}));
  EXPECT_EQ(route_of("model.layers.0.self_attn.q_proj.weight", overrides),
            (Route{.rule = Rule::group, .group = 1, .weight_decay = 0.5}));
  EXPECT_EQ(route_of(norm, overrides), (Route{.rule = Rule::group, .group = 1, .weight_decay = 0}));
  EXPECT_EQ(route_of(head, overrides).rule, Rule::fallback);
  const Config config = configure(overrides);
  EXPECT_EQ(&optimizer_of(config, route_of(q_proj, overrides)), &config.groups[0].optimizer);
  EXPECT_EQ(&optimizer_of(config, route_of(head, overrides)), &*config.fallback);
  EXPECT_EQ(&optimizer_of(config, {}), &config.optimizer);
}

TEST(Route, AMatrixOptimizerMayHaveAMatrixOutsideTheBlocks) {
  EXPECT_EQ(
      route_of(head, {"optimizer.group.0.match=lm_head.*", "optimizer.group.0.name=muon"}).rule,
      Rule::group);
}

TEST(Route, EveryParameterIsClaimedOnce) {
  std::uint64_t drawn = 0;
  const auto below = [&drawn](std::size_t n) { return random_bits(5, drawn++) % n; };
  const auto all = parameters();
  int routed = 0;
  for (int trial = 0; trial < 200; ++trial) {
    // Patterns made of names, some characters of which are wild.
    Overrides overrides = {trial % 2 == 0 ? "optimizer.name=muon" : "optimizer.name=adamw"};
    for (std::size_t g = 0; g < 3; ++g) {
      std::string pattern = all[below(all.size())].name;
      for (char& c : pattern) {
        if (below(3) == 0) c = below(2) == 0 ? '*' : '?';
      }
      overrides.push_back(fmt::format("optimizer.group.{}.match={}", g, pattern));
      overrides.push_back(fmt::format("optimizer.group.{}.name=adamw", g));
    }
    const Config config = configure(overrides);
    std::vector<Route> routes;
    try {
      routes = route(config, all, config::example_catalogue().optimizers);
    } catch (const UserError& error) {
      ASSERT_NE(std::string(error.what()).find("gets no parameter"), std::string::npos);
      continue;
    }
    ASSERT_EQ(routes.size(), all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      std::size_t first = 0;
      while (first < 3 && !matches(config.groups[first].match[0], all[i].name)) {
        ++first;
      }
      ASSERT_EQ(routes[i].rule == Rule::group, first < 3);
      if (first < 3) {
        ASSERT_EQ(routes[i].group, first);
      }
    }
    std::int64_t claimed = 0;
    for (const RoutedRule& rule : routed_rules(config, all, routes)) claimed += rule.parameters;
    ASSERT_EQ(claimed, static_cast<std::int64_t>(all.size()));
    ++routed;
  }
  EXPECT_GT(routed, 50) << "hardly any of the random groups was without error";
}

TEST(Route, APatternThatMatchesNothing) {
  EXPECT_EQ(error_of({"optimizer.group.0.match=*.qproj.*"}),
            "[config] optimizer.group.0.match: the pattern \"*.qproj.*\" matches none of the 13 "
            "parameters; did you mean \"*.q_proj.*\"?");
  EXPECT_EQ(error_of({"optimizer.group.0.match=['lm_head.*', 'lm_haed.weight']"}),
            "[config] optimizer.group.0.match: the pattern \"lm_haed.weight\" matches none of the "
            "13 parameters; did you mean \"lm_head.weight\"?");
  EXPECT_EQ(error_of({"optimizer.group.0.match=*experts*"}),
            "[config] optimizer.group.0.match: the pattern \"*experts*\" matches none of the 13 "
            "parameters; their names are model.embed_tokens.weight, "
            "model.layers.*.input_layernorm.weight, model.layers.*.self_attn.q_proj.weight, "
            "model.layers.*.self_attn.k_proj.weight, "
            "model.layers.*.post_attention_layernorm.weight, model.layers.*.mlp.up_proj.weight, "
            "model.norm.weight, lm_head.weight");
}

TEST(Route, AGroupThatOthersLeaveNothing) {
  EXPECT_EQ(error_of({"optimizer.group.0.match=*proj*", "optimizer.group.1.match=*q_proj*"}),
            "[config] optimizer.group.1 gets no parameter: the 2 that [\"*q_proj*\"] matches go to "
            "optimizer.group.0, since the first match wins; put optimizer.group.1 before "
            "optimizer.group.0, or remove it");
  EXPECT_EQ(error_of({"optimizer.group.0.match=*.0.*", "optimizer.group.1.match=*.1.*",
                      "optimizer.group.2.match=*q_proj*"}),
            "[config] optimizer.group.2 gets no parameter: the 2 that [\"*q_proj*\"] matches go to "
            "optimizer.group.0 and optimizer.group.1, since the first match wins; put "
            "optimizer.group.2 before optimizer.group.0, or remove it");
}

TEST(Route, AMatrixOptimizerForSomethingElse) {
  EXPECT_EQ(error_of({"optimizer.name=muon", "optimizer.group.0.match=*layernorm*"}),
            "[config] optimizer.group.0 would update 'model.layers.0.input_layernorm.weight' of "
            "shape 8 with optimizer 'muon', which takes matrices only; narrow "
            "optimizer.group.0.match, or set optimizer.group.0.name to an optimizer that takes "
            "every parameter");
  Parameters odd = parameters();
  odd[2].shape = {8, 8, 2};
  EXPECT_THROW(
      (void)route(configure({"optimizer.name=muon"}), odd, config::example_catalogue().optimizers),
      UserError);
}

TEST(RoutingTable, OneLineForEachRule) {
  const Config config = configure(
      {"optimizer.name=muon", "optimizer.lr=0.02", "optimizer.fallback.lr=1e-3",
       "optimizer.group.0.match=*norm*", "optimizer.group.0.name=adamw",
       "optimizer.group.1.match=['lm_head.*', '*.q_proj.*']", "optimizer.group.1.lr_factor=0.5"});
  const auto all = parameters();
  const auto rules =
      routed_rules(config, all, route(config, all, config::example_catalogue().optimizers));
  ASSERT_EQ(rules.size(), 4u);
  EXPECT_EQ(rules[1].lr, 0.01);
  EXPECT_EQ(rules[1].elements, 50 * 8 + 2 * 8 * 8);
  EXPECT_EQ(
      routing_table(rules),
      R"(rule                optimizer  lr            weight decay  parameters  elements  patterns
optimizer.group.0   adamw      0.001         0                      5        40  *norm*
optimizer.group.1   muon       0.01 (x 0.5)  0.1                    3       528  lm_head.*, *.q_proj.*
optimizer           muon       0.02          0.1                    4       320
optimizer.fallback  adamw      0.001         0.1                    1       400
)");
}

TEST(RoutingTable, SaysThatGainsAreNotDecayed) {
  const Config config = configure({});
  const auto all = parameters();
  const auto rules =
      routed_rules(config, all, route(config, all, config::example_catalogue().optimizers));
  EXPECT_EQ(routing_table(rules),
            "rule       optimizer  lr      weight decay  parameters  elements\n"
            "optimizer  adamw      0.0003  0.1, gains 0          13     1,288\n");
}

}  // namespace
}  // namespace penstock::optim
