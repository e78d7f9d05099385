#include "simulate/cost_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#ifndef TOML_HEADER_ONLY
#define TOML_HEADER_ONLY 1
#endif
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "base/suggest.h"

namespace penstock::simulate {
namespace {

using Json = nlohmann::ordered_json;

// ---- text to JSON values

Json to_json_value(const toml::node& node) {
  if (const toml::table* table = node.as_table()) {
    Json object = Json::object();
    for (const auto& [key, value] : *table) object[std::string(key.str())] = to_json_value(value);
    return object;
  }
  if (const toml::array* array = node.as_array()) {
    Json list = Json::array();
    for (const toml::node& value : *array) list.push_back(to_json_value(value));
    return list;
  }
  if (const auto number = node.value_exact<std::int64_t>()) return *number;
  if (const auto number = node.value_exact<double>()) return *number;
  if (const auto flag = node.value_exact<bool>()) return *flag;
  if (const auto text = node.value_exact<std::string>()) return *text;
  return nullptr;  // a date
}

Json parse_json(std::string_view text, std::string_view source) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    const std::string_view before = text.substr(0, std::min(error.byte, text.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    throw user_error("costs", "{}:{} is not valid JSON; check the brackets and commas there",
                     source, line);
  }
}

Json parse(std::string_view text, std::string_view source) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') return parse_json(text, source);
  try {
    return to_json_value(toml::parse(text, source));
  } catch (const toml::parse_error& error) {
    throw user_error("costs", "{}:{} is not valid TOML: {}", source, error.source().begin.line,
                     error.description());
  }
}

// ---- JSON values to costs

std::string shown(const Json& value) { return value.dump(-1, ' ', false); }

/// One table of the file; knows its own name for messages.
class Table {
 public:
  Table(const Json& object, std::string_view source, std::string path,
        std::vector<std::string> keys)
      : object_(object), source_(source), path_(std::move(path)) {
    if (!object.is_object()) {
      throw user_error("costs", "{}: {} is {}, but must be a table with keys; write them in it",
                       source_, path_, shown(object));
    }
    for (const auto& [key, value] : object.items()) {
      if (std::ranges::find(keys, key) != keys.end()) continue;
      const std::string near = suggest(key, keys);
      throw user_error("costs", "{}: {} has no key '{}'; {}", source_,
                       path_.empty() ? "the file" : path_, key,
                       near.empty() ? fmt::format("it can have {}", fmt::join(keys, ", "))
                                    : fmt::format("did you mean '{}'?", near));
    }
  }

  bool has(const char* key) const { return object_.contains(key); }

  const Json& list(const char* key) const {
    if (object_.at(key).is_array()) return object_.at(key);
    throw user_error("costs", "{}: {} is {}, but must be a list of tables; write [[{}]]", source_,
                     name(key), shown(object_.at(key)), name(key));
  }

  Table table(const char* key, std::vector<std::string> keys) const {
    return Table(object_.at(key), source_, name(key), std::move(keys));
  }
  Table element(const char* key, std::size_t i, std::vector<std::string> keys) const {
    return Table(list(key)[i], source_, fmt::format("{}[{}]", name(key), i), std::move(keys));
  }

  double number(const char* key, double otherwise) const {
    if (!has(key)) return otherwise;
    const Json& value = object_.at(key);
    if (value.is_number()) return value.get<double>();
    throw user_error("costs", "{}: {} is {}, but must be a number; write one", source_, name(key),
                     shown(value));
  }

  Duration duration(const char* key) const {
    Duration duration;
    if (!has(key)) return duration;
    const Json& value = object_.at(key);
    if (value.is_number()) return value.get<double>();
    const bool numbers =
        value.is_array() && !value.empty() &&
        std::ranges::all_of(value, [](const Json& sample) { return sample.is_number(); });
    if (!numbers) {
      throw user_error("costs",
                       "{}: {} is {}, but must be seconds or a list of samples in seconds; write "
                       "{} = 0.01 or {} = [0.01, 0.012]",
                       source_, name(key), shown(value), key, key);
    }
    duration.samples = value.get<std::vector<double>>();
    duration.mean = duration.expected();
    return duration;
  }

  void require(bool given, std::string_view what) const {
    if (given) return;
    throw user_error("costs", "{}: {} has no {}; give its seconds", source_, path_, what);
  }

  std::string_view source() const { return source_; }

 private:
  std::string name(const char* key) const {
    return path_.empty() ? key : fmt::format("{}.{}", path_, key);
  }

  const Json& object_;
  std::string source_;
  std::string path_;
};

std::vector<std::string> link_keys() { return {"latency", "bandwidth"}; }

std::vector<std::string> chunk_keys() {
  return {"forward", "backward", "backward_input", "backward_weight", "activation_bytes"};
}

std::vector<std::string> stage_keys(bool with_chunks) {
  std::vector<std::string> keys = with_chunks ? std::vector<std::string>{"chunks"} : chunk_keys();
  for (const char* key :
       {"contribute", "update", "slowdown", "weight_bytes", "gradient_bytes", "optimizer_bytes"}) {
    keys.emplace_back(key);
  }
  if (!with_chunks) keys.emplace_back("chunks");
  return keys;
}

ChunkCosts chunk_of(const Table& table) {
  ChunkCosts chunk;
  const bool input = table.has("backward_input");
  const bool weight = table.has("backward_weight");
  table.require(table.has("forward"), "forward");
  table.require(table.has("backward") || (input && weight),
                "backward, nor both backward_input and backward_weight");
  chunk.forward = table.duration("forward");
  chunk.backward = table.duration("backward");
  chunk.backward_input = input ? table.duration("backward_input") : chunk.backward.scaled(0.5);
  chunk.backward_weight = weight ? table.duration("backward_weight") : chunk.backward.scaled(0.5);
  if (!table.has("backward")) {
    chunk.backward = chunk.backward_input.expected() + chunk.backward_weight.expected();
  }
  chunk.activation_bytes = table.number("activation_bytes", 0);
  return chunk;
}

ChunkCosts share_of(const ChunkCosts& whole, double share) {
  return {.forward = whole.forward.scaled(share),
          .backward = whole.backward.scaled(share),
          .backward_input = whole.backward_input.scaled(share),
          .backward_weight = whole.backward_weight.scaled(share),
          .activation_bytes = whole.activation_bytes * share};
}

StageCosts stage_of(const Table& file, std::size_t i, schedule::PipelineShape shape) {
  const Json& entry = file.list("stages")[i];
  const bool with_chunks = entry.is_object() && entry.contains("chunks");
  const Table table = file.element("stages", i, stage_keys(with_chunks));
  StageCosts stage;
  const auto chunks = static_cast<std::size_t>(shape.chunks);
  if (with_chunks) {
    const std::size_t given = table.list("chunks").size();
    if (given != chunks) {
      throw user_error("costs",
                       "{}: stages[{}] has {} chunks, but the pipeline has {} per stage; give one "
                       "entry per chunk",
                       file.source(), i, given, chunks);
    }
    for (std::size_t c = 0; c < chunks; ++c) {
      stage.chunks.push_back(chunk_of(table.element("chunks", c, chunk_keys())));
    }
  } else {
    stage.chunks.assign(chunks, share_of(chunk_of(table), 1.0 / shape.chunks));
  }
  stage.contribute = table.duration("contribute");
  stage.update = table.duration("update");
  stage.slowdown = table.number("slowdown", 1);
  stage.weight_bytes = table.number("weight_bytes", 0);
  stage.gradient_bytes = table.number("gradient_bytes", 0);
  stage.optimizer_bytes = table.number("optimizer_bytes", 0);
  return stage;
}

Link link_of(const Table& table, const Link& otherwise) {
  return {.latency = table.number("latency", otherwise.latency),
          .bandwidth = table.number("bandwidth", otherwise.bandwidth)};
}

// ---- costs to JSON values

Json to_json_value(const Duration& duration) {
  return duration.samples.empty() ? Json(duration.mean) : Json(duration.samples);
}

Json to_json_value(const Link& link) {
  Json object = {{"latency", link.latency}};
  // JSON has no infinity; a missing bandwidth means just that.
  if (std::isfinite(link.bandwidth)) object["bandwidth"] = link.bandwidth;
  return object;
}

Json to_json_value(const ChunkCosts& chunk) {
  return {{"forward", to_json_value(chunk.forward)},
          {"backward", to_json_value(chunk.backward)},
          {"backward_input", to_json_value(chunk.backward_input)},
          {"backward_weight", to_json_value(chunk.backward_weight)},
          {"activation_bytes", chunk.activation_bytes}};
}

Json to_json_value(const StageCosts& stage) {
  Json chunks = Json::array();
  for (const ChunkCosts& chunk : stage.chunks) chunks.push_back(to_json_value(chunk));
  return {{"chunks", chunks},
          {"contribute", to_json_value(stage.contribute)},
          {"update", to_json_value(stage.update)},
          {"slowdown", stage.slowdown},
          {"weight_bytes", stage.weight_bytes},
          {"gradient_bytes", stage.gradient_bytes},
          {"optimizer_bytes", stage.optimizer_bytes}};
}

}  // namespace

Costs read_costs(std::string_view text, std::string_view source, schedule::PipelineShape shape) {
  const Json json = parse(text, source);
  const Table file(json, source, "",
                   {"message_bytes", "reduction", "jitter", "link", "links", "stages"});
  if (!file.has("stages")) {
    throw user_error("costs", "{}: no stages are given; write [[stages]] once, or once per stage",
                     source);
  }
  const auto stages = static_cast<std::size_t>(shape.stages);
  const std::size_t given = file.list("stages").size();
  if (given != 1 && given != stages) {
    throw user_error("costs",
                     "{}: {} stages are given, but the pipeline has {}; give one entry per stage, "
                     "or a single one for all",
                     source, given, stages);
  }
  Costs costs;
  for (std::size_t i = 0; i < given; ++i) costs.stages.push_back(stage_of(file, i, shape));
  if (given == 1) costs.stages.resize(stages, costs.stages.front());
  if (file.has("link")) costs.link = link_of(file.table("link", link_keys()), costs.link);
  if (file.has("links")) {
    for (std::size_t i = 0; i < file.list("links").size(); ++i) {
      costs.links.push_back(link_of(file.element("links", i, link_keys()), costs.link));
    }
  }
  costs.message_bytes = file.number("message_bytes", 0);
  costs.reduction = file.number("reduction", 0);
  costs.jitter = file.number("jitter", 0);
  check(costs, shape);
  return costs;
}

Costs load_costs(const std::filesystem::path& path, schedule::PipelineShape shape) {
  std::ifstream file(path, std::ios::binary);
  const bool is_empty = file.peek() == std::ifstream::traits_type::eof();
  if (!file.is_open() || file.bad()) {
    throw user_error("costs", "'{}' cannot be read; give a file with costs", path.string());
  }
  if (is_empty) throw user_error("costs", "'{}' is empty; write [[stages]] in it", path.string());
  std::ostringstream text;
  text << file.rdbuf();
  return read_costs(text.str(), path.string(), shape);
}

std::string to_json(const Costs& costs) {
  Json object = {{"message_bytes", costs.message_bytes},
                 {"reduction", costs.reduction},
                 {"jitter", costs.jitter},
                 {"link", to_json_value(costs.link)}};
  Json links = Json::array();
  for (const Link& link : costs.links) links.push_back(to_json_value(link));
  if (!links.empty()) object["links"] = links;
  Json stages = Json::array();
  for (const StageCosts& stage : costs.stages) stages.push_back(to_json_value(stage));
  object["stages"] = stages;
  return object.dump(2) + "\n";
}

}  // namespace penstock::simulate
