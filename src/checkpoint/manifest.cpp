#include "checkpoint/manifest.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "checkpoint/damage.h"

namespace penstock::checkpoint {
namespace {

using nlohmann::ordered_json;

constexpr const char* format_name = "penstock checkpoint";
constexpr int format_version = 2;  // 1: a micro-batch in flight had counted its loss

ordered_json without_fingerprint(const Manifest& manifest) {
  ordered_json object;
  object["format"] = format_name;
  object["version"] = format_version;
  object["cut"] = manifest.cut;
  object["stages"] = manifest.stages;
  object["configuration"] = manifest.identity.configuration;
  object["data"] = manifest.identity.data;
  object["origin"] = manifest.identity.origin;
  object["files"] = ordered_json::object();
  for (const auto& [name, file] : manifest.files) {
    object["files"][name] = {{"bytes", file.bytes}, {"xxh3", file.xxh3}};
  }
  return object;
}

std::string own_fingerprint(const ordered_json& object) {
  return fingerprint_of(object.dump()).xxh3;
}

std::map<std::string, std::string> texts(const ordered_json& object, const char* key) {
  return object.at(key).get<std::map<std::string, std::string>>();
}

Manifest from_json(const ordered_json& object) {
  Manifest manifest;
  manifest.cut = object.at("cut").get<std::int64_t>();
  manifest.stages = object.at("stages").get<int>();
  manifest.identity = {texts(object, "configuration"), texts(object, "data"),
                       texts(object, "origin")};
  for (const auto& [name, file] : object.at("files").items()) {
    manifest.files[name] = {file.at("bytes").get<std::uint64_t>(),
                            file.at("xxh3").get<std::string>()};
  }
  return manifest;
}

}  // namespace

std::filesystem::path manifest_file(const std::filesystem::path& checkpoint) {
  return checkpoint / "manifest.json";
}

std::string stage_file_name(int stage) { return fmt::format("stage-{:04}.safetensors", stage); }

std::string to_json(const Manifest& manifest) {
  ordered_json object = without_fingerprint(manifest);
  object["xxh3"] = own_fingerprint(object);
  return object.dump(2) + "\n";
}

Manifest read_manifest(const std::filesystem::path& checkpoint) {
  const auto path = manifest_file(checkpoint);
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw damage(checkpoint, "has no manifest.json");
  std::ostringstream text;
  text << stream.rdbuf();
  try {
    ordered_json object = ordered_json::parse(text.str());
    if (object.at("format") != format_name || object.at("version") != format_version) {
      throw user_error(
          "resume", "'{}' is not of version {} of the format '{}'; use the program that wrote it",
          path.string(), format_version, format_name);
    }
    const auto stated = object.at("xxh3").get<std::string>();
    object.erase("xxh3");
    if (own_fingerprint(object) != stated) throw damage(checkpoint, "has a damaged manifest.json");
    return from_json(object);
  } catch (const nlohmann::json::exception&) {
    throw damage(checkpoint, "has a damaged manifest.json");
  }
}

}  // namespace penstock::checkpoint
