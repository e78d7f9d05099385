#include "checkpoint/manifest.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "support/temporary_folder.h"

namespace penstock::checkpoint {
namespace {

namespace fs = std::filesystem;
using support::TemporaryFolder;

Manifest example() {
  Manifest manifest;
  manifest.identity = {{{"model.layers", "2"}, {"data", "ümlaut \"quoted\"\n"}},
                       {{"training tokens", "1000"}},
                       {{"LibTorch", "2.11.0"}}};
  manifest.cut = 4'000'000'000;
  manifest.stages = 2;
  manifest.files = {{"stage-0000.safetensors", {12'345'678'901, "0123456789abcdef"}},
                    {"stage-0001.safetensors", {7, "ffffffffffffffff"}}};
  return manifest;
}

/// What reading such a manifest complains of.
std::string error_of(const std::string& text) {
  const TemporaryFolder folder;
  folder.write("update-00000001/manifest.json", text);
  try {
    read_manifest(folder / "update-00000001");
  } catch (const UserError& error) {
    std::string what = error.what();
    const std::string path = folder.path().string() + "/";
    const auto at = what.find(path);
    return at == std::string::npos ? what : what.erase(at, path.size());
  }
  return "no error";
}

const char* const damaged =
    "[resume] checkpoint 'update-00000001' has a damaged manifest.json; put back what was written, "
    "or remove the folder and start from an older checkpoint or anew";

TEST(Manifest, RoundTrip) {
  const TemporaryFolder folder;
  folder.write("c/manifest.json", to_json(example()));
  EXPECT_EQ(read_manifest(folder / "c"), example());
}

TEST(Manifest, NamesOfFiles) {
  EXPECT_EQ(manifest_file("c"), fs::path("c/manifest.json"));
  EXPECT_EQ(stage_file_name(3), "stage-0003.safetensors");
  EXPECT_EQ(stage_file_name(12345), "stage-12345.safetensors");
}

TEST(Manifest, IsReadableByPrograms) {
  const auto object = nlohmann::json::parse(to_json(example()));
  EXPECT_EQ(object.at("format"), "penstock checkpoint");
  EXPECT_EQ(object.at("version"), 2);
  EXPECT_EQ(object.at("cut"), 4'000'000'000);
  EXPECT_EQ(object.at("stages"), 2);
  EXPECT_EQ(object.at("configuration").at("model.layers"), "2");
  EXPECT_EQ(object.at("files").at("stage-0001.safetensors").at("bytes"), 7);
}

TEST(Manifest, NoChangedCharacterGoesUnseen) {
  const std::string text = to_json(example());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ' || text[i] == '\n') continue;  // blanks mean nothing
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_NE(error_of(changed), "no error") << i << ": " << changed.substr(i, 20);
  }
  EXPECT_EQ(error_of(text.substr(0, text.size() / 2)), damaged);
  EXPECT_EQ(error_of(""), damaged);
  EXPECT_EQ(error_of("[]"), damaged);
  EXPECT_EQ(error_of("{}"), damaged);
}

TEST(Manifest, OtherVersionsAreNamed) {
  std::string text = to_json(example());
  text.replace(text.find("\"version\": 2"), 12, "\"version\": 1");
  EXPECT_EQ(error_of(text),
            "[resume] 'update-00000001/manifest.json' is not of version 2 of the format 'penstock "
            "checkpoint'; use the program that wrote it");
}

TEST(Manifest, AMissingOneIsNamed) {
  const TemporaryFolder folder;
  try {
    read_manifest(folder / "c");
    FAIL() << "no error";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()),
              "[resume] checkpoint '" + (folder / "c").string() +
                  "' has no manifest.json; put back what was written, or remove the folder and "
                  "start from an older checkpoint or anew");
  }
}

}  // namespace
}  // namespace penstock::checkpoint
