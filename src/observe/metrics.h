#pragma once
// Metrics as JSON lines.

#include <filesystem>
#include <string>
#include <string_view>

#include "observe/record.h"

namespace penstock::observe {

/// The record as one JSON object without a line break. Numbers have the fewest digits that read
/// back as the same double. JSON knows no NaN and no infinities: they become null.
///   {"step":1,"loss":...,"gradient_norm":...,"clip_factor":...,"lr":...,"tokens":...,
///    "seconds":...,"busy":[...]}
///   {"step":1,"val_loss":...,"sequences":...,"seconds":...,"duration":...}
/// The key "val_loss" tells evaluations from updates.
std::string to_json_line(const UpdateRecord& record);
std::string to_json_line(const EvalRecord& record);

/// Writes records to a file, one line and one system call each, so that a run that is killed leaves
/// whole lines. Starts an empty file; creates missing parent folders.
/// Errors: std::system_error naming the file; a line that did not fit the disk is taken back.
/// Threads: one writer per object.
class MetricsWriter {
 public:
  explicit MetricsWriter(std::filesystem::path file);
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
