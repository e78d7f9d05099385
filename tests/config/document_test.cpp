#include "config/document.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace penstock::config {
namespace {

const Setting* find(const Document& document, std::string_view name) {
  for (const Setting& setting : document.settings) {
    if (setting.name() == name) return &setting;
  }
  return nullptr;
}

TEST(ReadDocument, FlattensSectionsAndKeepsPlaces) {
  const Document document = read_document(
      "top = 1\n[a]\nx = true\n[a.b]\ny = 2.5\nlist = ['p', 'q']\nnumbers = [1, 2]\n", "f.toml");
  ASSERT_EQ(document.sections.size(), 2u);
  EXPECT_EQ(document.sections[0].name, "a");
  EXPECT_EQ(document.sections[1].name, "a.b");
  EXPECT_EQ(document.sections[1].place, "f.toml:4");
  ASSERT_NE(find(document, "top"), nullptr);
  EXPECT_EQ(find(document, "top")->section, "");
  EXPECT_EQ(find(document, "a.x")->value, Value(true));
  EXPECT_EQ(find(document, "a.x")->place, "f.toml:3");
  EXPECT_EQ(find(document, "a.b.y")->value, Value(2.5));
  EXPECT_EQ(find(document, "a.b.list")->value, Value(TextList{"p", "q"}));
  EXPECT_EQ(find(document, "a.b.numbers")->value, Value(IntegerList{1, 2}));
}

TEST(ReadDocument, TheTablesOfTheListAreSectionsWithNumbers) {
  const Document document = read_document(
      "[[optimizer.group]]\nx = 1\n[[optimizer.group]]\nx = 2\n[other]\nlist = [{x = 3}]\n", "f");
  ASSERT_EQ(document.sections.size(), 4u);
  EXPECT_EQ(find(document, "optimizer.group.0.x")->value, Value(std::int64_t{1}));
  EXPECT_EQ(find(document, "optimizer.group.1.x")->value, Value(std::int64_t{2}));
  EXPECT_EQ(find(document, "optimizer.group.1.x")->place, "f:4");
  const auto second =
      std::ranges::find(document.sections, "optimizer.group.1", &SectionHeader::name);
  ASSERT_NE(second, document.sections.end());
  EXPECT_EQ(second->place, "f:3");
  EXPECT_FALSE(find(document, "other.list")->value.has_value());
}

TEST(ReadDocument, ValuesOfNoOptionHaveOnlyTheirText) {
  const Document document = read_document("[a]\nmixed = ['p', 1]\nwhen = 12:30:00\n", "f.toml");
  EXPECT_FALSE(find(document, "a.mixed")->value.has_value());
  EXPECT_FALSE(find(document, "a.when")->value.has_value());
  EXPECT_EQ(find(document, "a.when")->shown, "12:30:00");
}

TEST(ReadOverride, SplitsAtTheFirstEqualsAndTheLastDot) {
  const Setting setting = read_override(" optimizer.fallback.lr = a=b ");
  EXPECT_EQ(setting.section, "optimizer.fallback");
  EXPECT_EQ(setting.key, "lr");
  EXPECT_EQ(setting.shown, "a=b");
  EXPECT_EQ(setting.place, "--set");
}

TEST(ReadOverride, TextsNeedNoQuotes) {
  const OptionSpec text = declare(OptionType::text, "t", "");
  const auto value = [&](const char* written) { return read_override(written).value_for(text); };
  EXPECT_EQ(value("a.t=plain words"), Value(std::string("plain words")));
  EXPECT_EQ(value("a.t='quoted '"), Value(std::string("quoted ")));
  EXPECT_EQ(value("a.t=12"), Value(std::string("12")));
  EXPECT_EQ(value("a.t=true"), Value(std::string("true")));
  EXPECT_EQ(value("a.t=[x]"), Value(std::string("[x]")));
  EXPECT_EQ(value("a.t=back\\slash"), Value(std::string("back\\slash")));
  EXPECT_EQ(value("a.t=it's"), Value(std::string("it's")));
}

}  // namespace
}  // namespace penstock::config
