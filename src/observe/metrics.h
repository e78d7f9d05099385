#pragma once
// Metrics as JSON lines.

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>

#include "observe/record.h"

namespace penstock::observe {

/// The record as one JSON object without a line break. Numbers have the fewest digits that read
/// back as the same double. JSON knows no NaN and no infinities: they become null.
///   {"step":1,"loss":...,"gradient_norm":...,"clip_factor":...,"lr":...,"tokens":...,
///    "seconds":...,"busy":[...],"skipped":false,
///    "stages":[{"gradient_norm":...,"work":...,"delay":[least,most],"waits":{"activation":...,
///               "gradient":...,"update":...,"transfer":...,"blocked":...,"core":...}},...],
///    "groups":{NAME:{"error_ratio":...,"update_ratio":...},...}}
///   {"step":1,"val_loss":...,"sequences":...,"seconds":...,"duration":...}
/// The key "val_loss" tells evaluations from updates. A stage that has not told is null.
std::string to_json_line(const UpdateRecord& record);
std::string to_json_line(const EvalRecord& record);

using Record = std::variant<UpdateRecord, EvalRecord>;

/// Reads such a line. null becomes NaN; other keys are ignored; skipped, stages and groups may be
/// missing. Errors: std::invalid_argument for anything that is no record.
Record parse_record(std::string_view line);

/// Writes records to a file, one line and one system call each, so that a run that is killed leaves
/// whole lines. Creates missing parent folders.
/// Errors: std::system_error naming the file; a line that did not fit the disk is taken back.
/// Threads: one writer per object.
class MetricsWriter {
 public:
  enum class Start { empty, append };

  explicit MetricsWriter(std::filesystem::path file, Start start = Start::empty);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  void write(const UpdateRecord& record) { write_line(to_json_line(record)); }
  void write(const EvalRecord& record) { write_line(to_json_line(record)); }

 private:
  void write_line(std::string line);

  std::filesystem::path file_;
  int descriptor_ = -1;
};

}  // namespace penstock::observe
