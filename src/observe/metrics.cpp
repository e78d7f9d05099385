#include "observe/metrics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace penstock::observe {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void fail(int error, std::string_view what, const std::filesystem::path& file) {
  throw std::system_error(error, std::generic_category(),
                          fmt::format("cannot {} '{}'", what, file.string()));
}

Json to_json(const std::optional<StageRecord>& stage) {
  if (!stage) return nullptr;
  Json waits = Json::object();
  for (const auto& cause : wait_causes)
    waits[std::string(cause.name)] = stage->waits.*cause.seconds;
  return {{"gradient_norm", stage->gradient_norm},
          {"work", stage->work},
          {"delay", {stage->least_delay, stage->most_delay}},
          {"waits", std::move(waits)}};
}

double number(const Json& value) { return value.is_null() ? undefined : value.get<double>(); }

std::optional<StageRecord> stage_in(const Json& value) {
  if (value.is_null()) return std::nullopt;
  StageRecord stage;
  stage.gradient_norm = number(value.at("gradient_norm"));
  stage.work = number(value.at("work"));
  value.at("delay").at(0).get_to(stage.least_delay);
  value.at("delay").at(1).get_to(stage.most_delay);
  for (const auto& cause : wait_causes) {
    stage.waits.*cause.seconds = number(value.at("waits").at(std::string(cause.name)));
  }
  return stage;
}

UpdateRecord update_in(const Json& line) {
  UpdateRecord record;
  line.at("step").get_to(record.step);
  record.loss = number(line.at("loss"));
  record.gradient_norm = number(line.at("gradient_norm"));
  record.clip_factor = number(line.at("clip_factor"));
  record.lr = number(line.at("lr"));
  line.at("tokens").get_to(record.tokens);
  record.seconds = number(line.at("seconds"));
  for (const Json& share : line.at("busy")) record.busy.push_back(number(share));
  record.skipped = line.value("skipped", false);
  const auto stages = line.value("stages", Json::array());
  for (const Json& stage : stages) record.stages.push_back(stage_in(stage));
  const auto groups = line.value("groups", Json::object());
  for (const auto& [name, group] : groups.items()) {
    record.groups[name] = {number(group.at("error_ratio")), number(group.at("update_ratio"))};
  }
  return record;
}

EvalRecord evaluation_in(const Json& line) {
  EvalRecord record;
  line.at("step").get_to(record.step);
  record.val_loss = number(line.at("val_loss"));
  line.at("sequences").get_to(record.sequences);
  record.seconds = number(line.at("seconds"));
  record.duration = number(line.at("duration"));
  return record;
}

}  // namespace

std::string to_json_line(const UpdateRecord& record) {
  Json line;
  line["step"] = record.step;
  line["loss"] = record.loss;
  line["gradient_norm"] = record.gradient_norm;
  line["clip_factor"] = record.clip_factor;
  line["lr"] = record.lr;
  line["tokens"] = record.tokens;
  line["seconds"] = record.seconds;
  line["busy"] = record.busy;
  line["skipped"] = record.skipped;
  line["stages"] = Json::array();
  for (const auto& stage : record.stages) line["stages"].push_back(to_json(stage));
  line["groups"] = Json::object();
  for (const auto& [name, group] : record.groups) {
    line["groups"][name] = {{"error_ratio", group.error_ratio},
                            {"update_ratio", group.update_ratio}};
  }
  return line.dump();
}

std::string to_json_line(const EvalRecord& record) {
  Json line;
  line["step"] = record.step;
  line["val_loss"] = record.val_loss;
  line["sequences"] = record.sequences;
  line["seconds"] = record.seconds;
  line["duration"] = record.duration;
  return line.dump();
}

Record parse_record(std::string_view line) {
  try {
    const auto object = Json::parse(line);
    if (object.contains("val_loss")) return evaluation_in(object);
    return update_in(object);
  } catch (const Json::exception& error) {
    throw std::invalid_argument(fmt::format("no record: {}", error.what()));
  }
}

MetricsWriter::MetricsWriter(std::filesystem::path file, Start start) : file_(std::move(file)) {
  if (file_.has_parent_path()) std::filesystem::create_directories(file_.parent_path());
  const int kept = start == Start::append ? 0 : O_TRUNC;
  descriptor_ = ::open(file_.c_str(), O_WRONLY | O_CREAT | kept | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(errno, "open", file_);
}

MetricsWriter::~MetricsWriter() { ::close(descriptor_); }

void MetricsWriter::write_line(std::string line) {
  line += '\n';
  const off_t start = ::lseek(descriptor_, 0, SEEK_END);
  ssize_t written = 0;
  do {
    written = ::write(descriptor_, line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(line.size())) return;
  // A regular file takes less than it was given only when the disk or a limit is reached.
  const int error = written < 0 ? errno : ENOSPC;
  if (written > 0 && ::ftruncate(descriptor_, start) != 0) fail(errno, "shorten", file_);
  fail(error, "write", file_);
}

}  // namespace penstock::observe
