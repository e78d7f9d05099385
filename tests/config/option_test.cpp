#include "config/option.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "base/error.h"

namespace penstock::config {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

enum class Taste { sweet, sour };

struct Fruit {
  bool ripe = true;
  std::int64_t count = -1;
  std::optional<std::int64_t> weight;
  std::int64_t seeds = 7;
  double price = -1;
  std::string name = "unset";
  std::string shape;
  Taste taste = Taste::sweet;
  TextList shops = {"unset"};
  IntegerList boxes = {9};
  std::string label = "kept";
};

OptionTable<Fruit> fruit_options() {
  OptionTable<Fruit> table;
  table.flag("ripe", &Fruit::ripe, false, "ready to eat")
      .integer("count", &Fruit::count, 3, Range::between(1, 10), "how many")
      .integer("weight", &Fruit::weight, Range::at_least(1), "grams")
      .derived_integer("seeds", &Fruit::seeds, "from the name", Range::at_least(0), "seeds")
      .real("price", &Fruit::price, 1.5, Range::above(0), "of one")
      .text("name", &Fruit::name, "apple", "what it is")
      .choice("shape", &Fruit::shape, "round", {"round", "long"}, "its shape")
      .choice("taste", &Fruit::taste, Taste::sour, {{"sweet", Taste::sweet}, {"sour", Taste::sour}},
              "its taste")
      .text_list("shops", &Fruit::shops, "where to buy")
      .integer_list("boxes", &Fruit::boxes, "auto", Range::at_least(1), "per box")
      .derived_text("label", &Fruit::label, "from the shop", "sticker");
  return table;
}

std::string error_of(std::string_view key, const Value& value) {
  const OptionTable<Fruit> table = fruit_options();
  Fruit fruit = table.defaults();
  try {
    table.set(fruit, key, value, "fruit.");
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Range, Bounds) {
  EXPECT_TRUE(Range::at_least(0).contains(0));
  EXPECT_FALSE(Range::at_least(0).contains(-1e-9));
  EXPECT_FALSE(Range::above(0).contains(0));
  EXPECT_TRUE(Range::above(0).contains(1e-300));
  EXPECT_TRUE(Range::between(0, 1).contains(0));
  EXPECT_TRUE(Range::between(0, 1).contains(1));
  EXPECT_FALSE(Range::between(0, 1).contains(1.5));
  EXPECT_TRUE(Range::below(0, 1).contains(0));
  EXPECT_FALSE(Range::below(0, 1).contains(1));
  EXPECT_FALSE(Range::inside(0, 1).contains(0));
  EXPECT_FALSE(Range::inside(0, 1).contains(1));
  EXPECT_FALSE(Range::above_up_to(0, 1).contains(0));
  EXPECT_TRUE(Range::above_up_to(0, 1).contains(1));
  EXPECT_TRUE(Range::any().contains(-1e300));
}

TEST(Range, NeverHoldsWhatIsNotFinite) {
  for (const Range& range : {Range::any(), Range::at_least(0), Range::between(0, 1)}) {
    EXPECT_FALSE(range.contains(not_a_number));
    EXPECT_FALSE(range.contains(infinity));
    EXPECT_FALSE(range.contains(-infinity));
  }
}

TEST(Range, Text) {
  EXPECT_EQ(Range::any().text(), "");
  EXPECT_EQ(Range::at_least(0).text(), ">= 0");
  EXPECT_EQ(Range::above(0.5).text(), "> 0.5");
  EXPECT_EQ(Range::between(0, 1).text(), "in [0, 1]");
  EXPECT_EQ(Range::below(0, 1).text(), "in [0, 1)");
  EXPECT_EQ(Range::inside(0, 1).text(), "in (0, 1)");
  EXPECT_EQ(Range::above_up_to(0, 1).text(), "in (0, 1]");
}

TEST(OptionTable, DefaultsAreTheDeclaredOnes) {
  const Fruit fruit = fruit_options().defaults();
  EXPECT_FALSE(fruit.ripe);
  EXPECT_EQ(fruit.count, 3);
  EXPECT_FALSE(fruit.weight.has_value());
  EXPECT_EQ(fruit.seeds, 7);  // The struct's own.
  EXPECT_EQ(fruit.price, 1.5);
  EXPECT_EQ(fruit.name, "apple");
  EXPECT_EQ(fruit.shape, "round");
  EXPECT_EQ(fruit.taste, Taste::sour);
  EXPECT_TRUE(fruit.shops.empty());
  EXPECT_TRUE(fruit.boxes.empty());
  EXPECT_EQ(fruit.label, "kept");
}

TEST(OptionTable, SetsAndGetsEveryType) {
  const OptionTable<Fruit> table = fruit_options();
  Fruit fruit = table.defaults();
  const std::vector<std::pair<std::string, Value>> values = {{"ripe", true},
                                                             {"count", std::int64_t{10}},
                                                             {"weight", std::int64_t{120}},
                                                             {"seeds", std::int64_t{0}},
                                                             {"price", 0.25},
                                                             {"name", std::string("pear")},
                                                             {"shape", std::string("long")},
                                                             {"taste", std::string("sweet")},
                                                             {"shops", TextList{"a", "b"}},
                                                             {"boxes", IntegerList{2, 3}},
                                                             {"label", std::string("x")}};
  EXPECT_FALSE(table.get(fruit, "weight").has_value());
  EXPECT_EQ(table.get(fruit, "boxes"), Value(std::string("auto")));
  for (const auto& [key, value] : values) {
    table.set(fruit, key, value);
    EXPECT_EQ(table.get(fruit, key), value) << key;
  }
  EXPECT_EQ(fruit.taste, Taste::sweet);
  EXPECT_EQ(fruit.weight, 120);
  table.set(fruit, "boxes", std::string("auto"));
  EXPECT_TRUE(fruit.boxes.empty());
}

TEST(OptionTable, Conversions) {
  const OptionTable<Fruit> table = fruit_options();
  Fruit fruit = table.defaults();
  table.set(fruit, "price", std::int64_t{2});
  EXPECT_EQ(fruit.price, 2.0);
  table.set(fruit, "shops", std::string("one"));
  EXPECT_EQ(fruit.shops, TextList{"one"});
  table.set(fruit, "shops", IntegerList{});  // An empty list has no type.
  EXPECT_TRUE(fruit.shops.empty());
}

TEST(OptionTable, ReadFillsInDefaults) {
  const Fruit fruit = fruit_options().read({{"count", std::int64_t{4}}});
  EXPECT_EQ(fruit.count, 4);
  EXPECT_EQ(fruit.price, 1.5);
}

TEST(OptionTable, Messages) {
  const std::string text = "abc";
  EXPECT_EQ(error_of("ripe", std::int64_t{1}),
            "[config] fruit.ripe = 1 is not true or false; give true or false");
  EXPECT_EQ(error_of("count", text),
            "[config] fruit.count = \"abc\" is not a whole number; give a whole number in [1, 10]");
  EXPECT_EQ(error_of("count", 1.5),
            "[config] fruit.count = 1.5 is not a whole number; give a whole number in [1, 10]");
  EXPECT_EQ(error_of("count", 1e6),
            "[config] fruit.count = 1000000.0 is not a whole number; write it as 1000000");
  EXPECT_EQ(error_of("count", std::int64_t{0}),
            "[config] fruit.count = 0 is out of range; give a whole number in [1, 10]");
  EXPECT_EQ(error_of("price", text),
            "[config] fruit.price = \"abc\" is not a number; give a number > 0");
  EXPECT_EQ(error_of("price", 0.0),
            "[config] fruit.price = 0.0 is out of range; give a number > 0");
  EXPECT_EQ(error_of("price", std::int64_t{-1}),
            "[config] fruit.price = -1 is out of range; give a number > 0");
  EXPECT_EQ(error_of("price", not_a_number),
            "[config] fruit.price = nan is not finite; give a number > 0");
  EXPECT_EQ(error_of("price", infinity),
            "[config] fruit.price = inf is not finite; give a number > 0");
  EXPECT_EQ(error_of("name", true),
            "[config] fruit.name = true is not a text; give a text in quotes");
  EXPECT_EQ(error_of("shape", std::string("rond")),
            "[config] fruit.shape = \"rond\" is none of round, long; did you mean 'round'?");
  EXPECT_EQ(error_of("taste", std::string("bitter")),
            "[config] fruit.taste = \"bitter\" is none of sweet, sour; give one of them");
  EXPECT_EQ(error_of("shape", std::int64_t{1}),
            "[config] fruit.shape = 1 is not a text; give one of round, long");
  EXPECT_EQ(error_of("shops", IntegerList{1}),
            "[config] fruit.shops = [1] is not a text or a list of texts; "
            "give a text in quotes or a list of them");
  EXPECT_EQ(error_of("boxes", IntegerList{2, 0}),
            "[config] fruit.boxes = [2, 0] is out of range; "
            "give \"auto\" or a list of whole numbers >= 1");
  EXPECT_EQ(error_of("boxes", TextList{}),
            "[config] fruit.boxes = [] is out of range; "
            "give \"auto\" or a list of whole numbers >= 1");
  EXPECT_EQ(error_of("boxes", text),
            "[config] fruit.boxes = \"abc\" is not a list of whole numbers; "
            "give \"auto\" or a list of whole numbers >= 1");
  EXPECT_EQ(error_of("prize", 1.0),
            "[config] unknown key 'fruit.prize'; did you mean 'fruit.price'?");
  EXPECT_EQ(error_of("colour", 1.0),
            "[config] unknown key 'fruit.colour'; the keys here are ripe, count, weight, seeds, "
            "price, name, shape, taste, shops, boxes, label");
}

TEST(OptionSpec, NamesThePlace) {
  const OptionSpec spec = fruit_options().specs()[4];
  try {
    (void)spec.checked(Value(-1.0), "fruit.price", "fruit.toml:7");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[config] fruit.price = -1.0 (fruit.toml:7) is out of range; give a number > 0");
  }
}

TEST(OptionTable, Infos) {
  const std::vector<OptionInfo> infos = fruit_options().infos();
  ASSERT_EQ(infos.size(), 11u);
  const auto row = [&](std::size_t i) {
    return infos[i].key + "|" + infos[i].type + "|" + infos[i].default_text + "|" +
           infos[i].range_text + "|" + infos[i].help;
  };
  EXPECT_EQ(row(0), "ripe|true or false|false||ready to eat");
  EXPECT_EQ(row(1), "count|whole number|3|in [1, 10]|how many");
  EXPECT_EQ(row(2), "weight|whole number|unset|>= 1|grams");
  EXPECT_EQ(row(3), "seeds|whole number|from the name|>= 0|seeds");
  EXPECT_EQ(row(4), "price|number|1.5|> 0|of one");
  EXPECT_EQ(row(5), "name|text|\"apple\"||what it is");
  EXPECT_EQ(row(7), "taste|choice|\"sour\"|sweet | sour|its taste");
  EXPECT_EQ(row(9), "boxes|list of whole numbers|\"auto\"|>= 1|per box");
}

TEST(OptionTable, OurOwnMistakesAreLogicErrors) {
  OptionTable<Fruit> twice;
  twice.flag("ripe", &Fruit::ripe, false, "");
  EXPECT_THROW(twice.flag("ripe", &Fruit::ripe, false, ""), std::logic_error);
  OptionTable<Fruit> table;
  EXPECT_THROW(table.real("price", &Fruit::price, 0, Range::above(0), ""), std::logic_error);
  EXPECT_THROW(table.choice("shape", &Fruit::shape, "flat", {"round", "long"}, ""),
               std::logic_error);
  EXPECT_THROW(table.flag("", &Fruit::ripe, false, ""), std::logic_error);
}

}  // namespace
}  // namespace penstock::config
