#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "data/bpe.h"
#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

using Ids = std::vector<std::uint32_t>;

std::string parse_error(const std::string& json) {
  const std::string line = error_of([&] { parse_tokenizer(json, "t.json"); });
  const std::string start = "[data] 't.json' is not a usable tokenizer: ";
  return line.starts_with(start) ? line.substr(start.size()) : "OTHER " + line;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == text.npos) ADD_FAILURE() << from << " is not in " << text;
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

std::shared_ptr<Tokenizer> small_bpe() {
  const std::vector<Merge> merges = {{' ', 't'}, {257, 'h'}, {'\n', 0xff}};
  return make_bpe_tokenizer(merges);
}

TEST(ByteTokenizer, IsTheBytes) {
  const auto bytes = make_byte_tokenizer();
  Ids ids = {7};
  bytes->encode(std::string_view("a\0\xff", 3), ids);
  EXPECT_EQ(ids, (Ids{7, 'a', 0, 255}));
  EXPECT_EQ(bytes->vocabulary(), 257U);
  EXPECT_EQ(bytes->name(), "bytes");
  const std::string text = random_text(1, 10000);
  ids.clear();
  bytes->encode(text, ids);
  EXPECT_EQ(bytes->decode(ids), text);
  EXPECT_EQ(bytes->decode(Ids{'x', 256, 'y', 257}), "xy\xef\xbf\xbd");
}

TEST(TokenizerFile, IsReadable) {
  EXPECT_EQ(small_bpe()->to_json(), R"({
  "format": "penstock tokenizer",
  "version": 1,
  "kind": "bpe",
  "vocabulary": 260,
  "pre_tokenizer": "penstock-1",
  "merges": [
    [32, 116, " t"],
    [257, 104, " th"],
    [10, 255, "\\x0a\\xff"]
  ]
}
)");
}

TEST(TokenizerFile, ReadsWhatItWrote) {
  const support::TemporaryFolder folder;
  for (const auto& tokenizer :
       {make_byte_tokenizer(), small_bpe(), make_bpe_tokenizer(std::vector<Merge>())}) {
    tokenizer->save(folder / "t.json");
    const auto read = load_tokenizer(folder / "t.json");
    EXPECT_EQ(read->to_json(), tokenizer->to_json());
    EXPECT_EQ(read->hash(), tokenizer->hash());
    EXPECT_EQ(read->name(), tokenizer->name());
    EXPECT_EQ(read->vocabulary(), tokenizer->vocabulary());
  }
  EXPECT_NE(small_bpe()->hash(), make_byte_tokenizer()->hash());
}

TEST(TokenizerFile, SaysWhatIsWrong) {
  const std::string good = small_bpe()->to_json();
  EXPECT_EQ(parse_error(good), "OTHER (no error)");
  EXPECT_EQ(parse_error(""), "it is not JSON");
  EXPECT_EQ(parse_error(good.substr(0, good.size() / 2)), "it is not JSON");
  EXPECT_EQ(parse_error("[1]"), "it is not a JSON object");
  EXPECT_EQ(parse_error("{}"), "\"format\" is not a text");
  EXPECT_EQ(parse_error(replaced(good, "penstock tokenizer", "x")),
            "\"format\" is \"x\", not \"penstock tokenizer\"");
  EXPECT_EQ(parse_error(replaced(good, "\"version\": 1", "\"version\": 2")),
            "its version is 2, this program reads 1");
  EXPECT_EQ(parse_error(replaced(good, "\"bpe\"", "\"wordpiece\"")),
            "\"kind\" is \"wordpiece\"; known are \"bytes\" and \"bpe\"");
  EXPECT_EQ(parse_error(replaced(good, "penstock-1", "penstock-9")),
            "\"pre_tokenizer\" is \"penstock-9\", this program has \"penstock-1\"");
  EXPECT_EQ(parse_error(replaced(good, "260", "261")),
            "\"vocabulary\" is 261, its entries give 260");
  EXPECT_EQ(parse_error(replaced(good, "260", "-1")),
            "\"vocabulary\" holds -1 where a whole number is needed");
  EXPECT_EQ(parse_error(replaced(good, "\"vocabulary\": 260,", "")), "\"vocabulary\" is missing");
  EXPECT_EQ(parse_error(replaced(good, "116", "1.5")),
            "\"merges\" holds 1.5 where a whole number is needed");
  EXPECT_EQ(parse_error(replaced(good, "116", "99999999999")),
            "\"merges\" holds 99999999999 where a whole number is needed");
  EXPECT_EQ(parse_error(replaced(good, ", \" t\"", "")), "merge 0 is not [left, right, text]");
  EXPECT_EQ(parse_error(replaced(good, "257, 104", "259, 104")),
            "merge 1 makes id 258 out of id 259, which no byte or earlier merge has");
  EXPECT_EQ(parse_error(replaced(good, "104", "105")),
            "the text of merge 1 is \" th\", its ids give \" ti\"");
  EXPECT_EQ(parse_error(replaced(good, "\"version\"", "\"extra\": 1, \"version\"")),
            "it has keys that its kind does not know");
}

TEST(TokenizerFile, NamesAMissingFile) {
  EXPECT_EQ(error_of([] { load_tokenizer("/nowhere/t.json"); }),
            "[data] '/nowhere/t.json' does not exist; check the path");
}

}  // namespace
}  // namespace penstock::data
