#pragma once
// A timeline as a file in the trace event format of Chrome, which ui.perfetto.dev and
// chrome://tracing open: a process for the run, a thread for each stage, a complete event ("ph":
// "X", microseconds with three decimals) for each span.
// Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
//
// Categories: work, evaluation, wait, transfer, blocked. A receive whose message was under way
// for a while is two events, a wait and a transfer. `args` hold the action. "otherData" comes
// first and holds the header; "penstock" comes last and counts the events.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "base/atomic_file.h"
#include "timeline/timeline.h"

namespace penstock::timeline {

struct TraceHeader {
  std::string schedule;
  schedule::PipelineShape shape;
  schedule::Placement placement = schedule::Placement::loop;
  bool planned = false;                      // simulated rather than measured
  std::map<std::string, std::string> notes;  // whatever else is worth knowing
};

/// Spans that a file holds unless told otherwise: some 400 MB, which browsers bear.
inline constexpr std::int64_t usual_trace_limit = 2'000'000;

/// Writes a trace span by span. The file appears with close(); without it there is none.
/// Spans of one stage come in the order of time and do not overlap; stages in any order. Moments
/// are rounded to nanoseconds. Behind `limit` spans the rest is only counted, which the file tells.
/// Errors: std::system_error naming the file. Threads: one at a time.
class TraceWriter {
 public:
  TraceWriter(const std::filesystem::path& path, const TraceHeader& header,
              std::int64_t limit = usual_trace_limit);

  void add(int stage, const Span& span);
  void close();

  std::int64_t written() const { return spans_; }
  std::int64_t left_out() const { return left_out_; }

 private:
  struct Event;
  void write_event(int stage, const schedule::Action& action, const Event& event);
  void flush_if(std::size_t size);

  AtomicFile file_;
  schedule::PipelineShape shape_;
  std::int64_t limit_;
  std::int64_t spans_ = 0;
  std::int64_t left_out_ = 0;
  std::string buffer_;
};

void write_trace(const std::filesystem::path& path, const Timeline& timeline,
                 const TraceHeader& header);
/// The header that belongs to a timeline.
TraceHeader header_of(const Timeline& timeline);

struct Trace {
  TraceHeader header;
  Timeline timeline;
  std::int64_t left_out = 0;  // spans behind the writer's limit
};

/// Reads what TraceWriter wrote: the same spans, to the nanosecond.
/// Errors: UserError "[trace] FILE: ..." for what is no JSON, not ours, of another version,
/// incomplete, or contradicts its own header.
Trace read_trace(const std::filesystem::path& path);

}  // namespace penstock::timeline
