#include "timeline/trace_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>

#include "timeline/cells.h"
#include "timeline/trace_format.h"

namespace penstock::timeline {
namespace {

using Json = nlohmann::ordered_json;
using schedule::ActionKind;

constexpr std::size_t buffer_bytes = std::size_t{1} << 20;

std::string_view placement_name(schedule::Placement placement) {
  return placement == schedule::Placement::v ? "v" : "loop";
}

std::string json_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json header_json(const TraceHeader& header) {
  Json notes = Json::object();
  for (const auto& [key, value] : header.notes) notes[key] = value;
  return {{"format", trace_format::name},
          {"format_version", trace_format::version},
          {"schedule", header.schedule},
          {"stages", header.shape.stages},
          {"micro_batches", header.shape.micro_batches},
          {"chunks", header.shape.chunks},
          {"placement", placement_name(header.placement)},
          {"planned", header.planned},
          {"notes", std::move(notes)}};
}

std::int64_t nanoseconds(double seconds) { return std::llround(1e9 * seconds); }

std::string microseconds(std::int64_t nanoseconds) {
  return fmt::format("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000);
}

std::string_view category(ActionKind kind) {
  switch (kind) {
    case ActionKind::evaluate:
      return "evaluation";
    case ActionKind::receive_activation:
    case ActionKind::receive_gradient:
    case ActionKind::receive_evaluation:
    case ActionKind::await_reduction:
      return "wait";
    case ActionKind::send_activation:
    case ActionKind::send_gradient:
    case ActionKind::send_evaluation:
      return "blocked";
    default:
      return "work";
  }
}

bool is_receive(ActionKind kind) {
  return kind == ActionKind::receive_activation || kind == ActionKind::receive_gradient ||
         kind == ActionKind::receive_evaluation;
}

std::string event_name(const schedule::Action& action, const schedule::PipelineShape& shape) {
  const auto of = [&](Mark mark) { return label({mark, action, 0, 0}, shape); };
  switch (action.kind) {
    case ActionKind::forward:
      return of(Mark::forward);
    case ActionKind::backward:
      return of(Mark::backward);
    case ActionKind::backward_input:
      return of(Mark::backward_input);
    case ActionKind::backward_weight:
      return of(Mark::backward_weight);
    case ActionKind::update:
      return fmt::format("U W({})", action.version);
    case ActionKind::capture:
      return fmt::format("S W({})", action.version);
    case ActionKind::contribute:
      return "R";
    case ActionKind::evaluate:
      return of(Mark::evaluation);
    case ActionKind::receive_activation:
      return "wait for activation";
    case ActionKind::receive_gradient:
      return "wait for gradient";
    case ActionKind::receive_evaluation:
      return "wait for evaluation";
    case ActionKind::await_reduction:
      return "wait for reduction";
    default:
      return "blocked";
  }
}

}  // namespace

struct TraceWriter::Event {
  std::int64_t begin = 0;  // nanoseconds
  std::int64_t end = 0;
  std::string_view category;
  std::string name;
};

TraceWriter::TraceWriter(const std::filesystem::path& path, const TraceHeader& header,
                         std::int64_t limit)
    : file_(path), shape_(header.shape), limit_(limit) {
  const std::string process =
      fmt::format("{} {}", header.planned ? "planned" : "measured", header.schedule);
  buffer_ = "{\"displayTimeUnit\":\"ns\",\n\"otherData\":" + json_text(header_json(header)) +
            ",\n\"traceEvents\":[\n";
  const auto metadata = [&](std::string_view kind, int thread, const Json& args) {
    buffer_ +=
        json_text({{"name", kind}, {"ph", "M"}, {"pid", 1}, {"tid", thread}, {"args", args}});
  };
  metadata("process_name", 0, {{"name", process}});
  for (int s = 0; s < header.shape.stages; ++s) {
    buffer_ += ",\n";
    metadata("thread_name", s + 1, {{"name", fmt::format("stage {}", s)}});
    buffer_ += ",\n";
    metadata("thread_sort_index", s + 1, {{"sort_index", s}});
    flush_if(buffer_bytes);
  }
}

void TraceWriter::flush_if(std::size_t size) {
  if (buffer_.size() < size) return;
  file_.write(buffer_);
  buffer_.clear();
}

void TraceWriter::write_event(int stage, const schedule::Action& action, const Event& event) {
  fmt::format_to(std::back_inserter(buffer_),
                 ",\n{{\"name\":\"{}\",\"cat\":\"{}\",\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{},"
                 "\"dur\":{},\"args\":{{\"action\":\"{}\",\"batch\":{},\"micro_batch\":{},"
                 "\"version\":{},\"chunk\":{}}}}}",
                 event.name, event.category, stage + 1, microseconds(event.begin),
                 microseconds(event.end - event.begin), schedule::name(action.kind), action.batch,
                 action.micro_batch, action.version, action.chunk);
  flush_if(buffer_bytes);
}

void TraceWriter::add(int stage, const Span& span) {
  if (spans_ == limit_) {
    ++left_out_;
    return;
  }
  ++spans_;
  const std::int64_t begin = nanoseconds(span.begin);
  const std::int64_t end = std::max(begin, nanoseconds(span.end));
  const std::int64_t transfer =
      is_receive(span.action.kind)
          ? std::clamp<std::int64_t>(nanoseconds(span.transfer), 0, end - begin)
          : 0;
  const auto& action = span.action;
  if (transfer == 0 || begin < end - transfer) {
    write_event(stage, action,
                {begin, end - transfer, category(action.kind), event_name(action, shape_)});
  }
  if (transfer > 0) write_event(stage, action, {end - transfer, end, "transfer", "transfer"});
}

void TraceWriter::close() {
  Json trailer = {{"spans", spans_}, {"left_out", left_out_}};
  if (left_out_ > 0) {
    trailer["note"] =
        fmt::format("recording stopped at {} spans; {} more are left out", spans_, left_out_);
  }
  buffer_ += "\n],\n\"penstock\":" + json_text(trailer) + "}\n";
  flush_if(0);
  file_.commit();
}

void write_trace(const std::filesystem::path& path, const Timeline& timeline,
                 const TraceHeader& header) {
  TraceWriter writer(path, header);
  for (std::size_t s = 0; s < timeline.stages.size(); ++s) {
    for (const Span& span : timeline.stages[s]) writer.add(static_cast<int>(s), span);
  }
  writer.close();
}

TraceHeader header_of(const Timeline& timeline) {
  TraceHeader header;
  header.schedule = timeline.schedule;
  header.shape = timeline.shape;
  header.placement = timeline.placement;
  return header;
}

}  // namespace penstock::timeline
