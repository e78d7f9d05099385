// The reading half of trace_file.h.

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/error.h"
#include "timeline/trace_file.h"
#include "timeline/trace_format.h"

namespace penstock::timeline {
namespace {

using Json = nlohmann::json;
using schedule::ActionKind;

// More than any pipeline has; limits for what a broken file can make us allocate.
constexpr std::int64_t most_stages = 1 << 16;
constexpr std::int64_t most_pieces = 1 << 20;  // of the model: chunks of all stages
constexpr std::int64_t most_micro_batches = 1 << 20;
constexpr std::int64_t most_version = std::numeric_limits<std::int32_t>::max();
// Up to here a double holds microseconds with three decimals exactly enough: some 50 days.
constexpr double most_microseconds = 4.5e12;

std::optional<ActionKind> kind_named(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(ActionKind::send_evaluation); ++i) {
    const auto kind = static_cast<ActionKind>(i);
    if (schedule::name(kind) == name) return kind;
  }
  return std::nullopt;
}

bool is_evaluation(ActionKind kind) {
  return kind == ActionKind::receive_evaluation || kind == ActionKind::evaluate ||
         kind == ActionKind::send_evaluation;
}

/// Takes the file apart as it is parsed, so that no event is kept as JSON.
class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  /// Called by the parser; false: the value is done with.
  bool take(int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (event == Event::key && depth == 1) {
      section_ = value.get<std::string>();
    } else if (event == Event::object_end && depth == 1 && section_ == "otherData") {
      read_header(value);
    } else if (event == Event::object_end && depth == 2 && section_ == "traceEvents") {
      read_event(value);
      return false;
    } else if (event == Event::object_end && depth == 1 && section_ == "penstock") {
      read_trailer(value);
    }
    return true;
  }

  Trace finish() {
    if (!has_header_) fail_foreign();
    if (!has_trailer_) fail("has no end mark; write it again");
    trace_.timeline.schedule = trace_.header.schedule;
    trace_.timeline.shape = trace_.header.shape;
    trace_.timeline.placement = trace_.header.placement;
    return std::move(trace_);
  }

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw user_error("trace", "{}: {}", file_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  [[noreturn]] void fail_foreign() const {
    fail(
        "is not a trace of Penstock (otherData.format is not '{}' before the events); give a file "
        "that 'penstock schedule --trace' or 'penstock train --trace' wrote",
        trace_format::name);
  }

  std::int64_t integer(const Json& object, const char* key, std::int64_t least, std::int64_t most,
                       const std::string& where) const {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_number_integer()) {
      fail("{} has no whole number '{}'; write the file again", where, key);
    }
    const bool too_large = found->is_number_unsigned() &&
                           found->get<std::uint64_t>() > static_cast<std::uint64_t>(most);
    const auto value = found->get<std::int64_t>();
    if (too_large || value < least || value > most) {
      fail("{} has {} = {}, which is not within {} to {}; write the file again", where, key,
           found->dump(), least, most);
    }
    return value;
  }

  std::string text(const Json& object, const char* key, const std::string& where) const {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) {
      fail("{} has no text '{}'; write the file again", where, key);
    }
    return found->get<std::string>();
  }

  void read_header(const Json& header) {
    if (header.value("format", Json()) != Json(trace_format::name)) fail_foreign();
    const std::string where = "the header";
    const auto version = integer(header, "format_version", 0, most_version, where);
    if (version != trace_format::version) {
      fail(
          "has format version {}, this program reads version {}; read it with the program that "
          "wrote it",
          version, trace_format::version);
    }
    TraceHeader& result = trace_.header;
    result.schedule = text(header, "schedule", where);
    result.shape.stages = static_cast<int>(integer(header, "stages", 1, most_stages, where));
    result.shape.micro_batches =
        static_cast<int>(integer(header, "micro_batches", 1, most_micro_batches, where));
    result.shape.chunks =
        static_cast<int>(integer(header, "chunks", 1, most_pieces / result.shape.stages, where));
    const std::string placement = text(header, "placement", where);
    if (placement != "loop" && placement != "v") {
      fail("the header has placement = '{}', known are 'loop' and 'v'; write the file again",
           placement);
    }
    if (placement == "v") result.placement = schedule::Placement::v;
    const auto planned = header.find("planned");
    result.planned = planned != header.end() && *planned == true;
    const auto notes = header.find("notes");
    if (notes != header.end() && notes->is_object()) {
      for (const auto& [key, value] : notes->items()) {
        if (value.is_string()) result.notes[key] = value.get<std::string>();
      }
    }
    trace_.timeline.stages.resize(static_cast<std::size_t>(result.shape.stages));
    has_header_ = true;
  }

  std::int64_t nanoseconds(const Json& event, const char* key, const std::string& where) const {
    const auto found = event.find(key);
    if (found == event.end() || !found->is_number()) {
      fail("{} has no number '{}'; write the file again", where, key);
    }
    const double microseconds = found->get<double>();
    if (!(microseconds >= 0) || microseconds > most_microseconds) {
      fail("{} has {} = {}, which is no time in microseconds; write the file again", where, key,
           found->dump());
    }
    return std::llround(1e3 * microseconds);
  }

  void read_event(const Json& event) {
    if (!has_header_) fail_foreign();
    const std::string where = fmt::format("event {}", ++events_);
    if (text(event, "ph", where) != "X") return;
    const auto stage =
        static_cast<std::size_t>(integer(event, "tid", 1, trace_.header.shape.stages, where) - 1);
    const std::int64_t begin = nanoseconds(event, "ts", where);
    const std::int64_t end = begin + nanoseconds(event, "dur", where);
    const auto args = event.find("args");
    if (args == event.end() || !args->is_object()) {
      fail("{} has no 'args'; write the file again", where);
    }
    Span span{action(*args, where), 1e-9 * static_cast<double>(begin),
              1e-9 * static_cast<double>(end), 0};
    place(stage, span, text(event, "cat", where) == "transfer", where);
  }

  schedule::Action action(const Json& args, const std::string& where) const {
    constexpr std::int64_t any = std::numeric_limits<std::int64_t>::max();
    schedule::Action action;
    const std::string name = text(args, "action", where);
    const auto kind = kind_named(name);
    if (!kind) fail("{} has the unknown action '{}'; write the file again", where, name);
    const auto& shape = trace_.header.shape;
    action.kind = *kind;
    action.batch = integer(args, "batch", 0, any, where);
    action.micro_batch = integer(args, "micro_batch", 0,
                                 is_evaluation(*kind) ? any : shape.micro_batches - 1, where);
    action.version = integer(args, "version", 0, any, where);
    action.chunk = static_cast<std::int32_t>(integer(args, "chunk", 0, shape.chunks - 1, where));
    return action;
  }

  /// Appends to a stage, or to the wait that a transfer ends.
  void place(std::size_t stage, Span span, bool is_transfer, const std::string& where) {
    auto& spans = trace_.timeline.stages[stage];
    if (!spans.empty() && span.begin < spans.back().end) {
      fail(
          "{} begins on stage {} at {:.3f} us, before the one before it ends; write the file again",
          where, stage, 1e6 * span.begin);
    }
    if (is_transfer) span.transfer = span.seconds();
    const bool follows = is_transfer && !spans.empty() && spans.back().transfer == 0 &&
                         spans.back().end == span.begin && spans.back().action == span.action;
    if (follows) {
      spans.back().end = span.end;
      spans.back().transfer = span.transfer;
      return;
    }
    spans.push_back(span);
    ++spans_;
  }

  void read_trailer(const Json& trailer) {
    const std::string where = "the end mark";
    const auto counted =
        integer(trailer, "spans", 0, std::numeric_limits<std::int64_t>::max(), where);
    if (counted != spans_) {
      fail("holds {} spans, its end mark tells of {}; write it again", spans_, counted);
    }
    trace_.left_out =
        integer(trailer, "left_out", 0, std::numeric_limits<std::int64_t>::max(), where);
    has_trailer_ = true;
  }

  std::string file_;
  std::string section_;
  Trace trace_;
  std::int64_t events_ = 0;
  std::int64_t spans_ = 0;
  bool has_header_ = false;
  bool has_trailer_ = false;
};

}  // namespace

Trace read_trace(const std::filesystem::path& path) {
  Reader reader(path.string());
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) reader.fail("cannot be read ({}); give a trace file", error.message());
  std::ifstream stream(path, std::ios::binary);
  if (!stream) reader.fail("cannot be opened; give a trace file that can be read");
  try {
    const auto rest = Json::parse(stream, [&](int depth, Json::parse_event_t event, Json& value) {
      return reader.take(depth, event, value);
    });
  } catch (const Json::parse_error& parse_error) {
    if (parse_error.byte >= size) {
      reader.fail("ends in the middle, after {} bytes; write it again", size);
    }
    reader.fail("is not JSON (byte {}); give a trace file", parse_error.byte);
  }
  return reader.finish();
}

}  // namespace penstock::timeline
