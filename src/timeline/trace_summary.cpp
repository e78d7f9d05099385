#include "timeline/trace_summary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "base/error.h"

namespace penstock::timeline {
namespace {

using schedule::ActionKind;

double quantile(const std::vector<double>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  const auto index = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
  return sorted[std::min(index, sorted.size() - 1)];
}

/// Batches during which the pipeline fills or drains: the first stage is d-1 micro-batches ahead
/// of the last.
std::int64_t unsteady_batches(const schedule::PipelineShape& shape) {
  const int m = shape.micro_batches;
  return std::max(1, (shape.stages - 1 + m - 1) / m);
}

BatchRange steady(BatchRange recorded, const schedule::PipelineShape& shape, bool& found) {
  const std::int64_t unsteady = unsteady_batches(shape);
  const std::int64_t quarter = (recorded.last - recorded.first + 1) / 4;
  const BatchRange range{recorded.first + std::max(unsteady, quarter), recorded.last - unsteady};
  found = range.first <= range.last;
  if (found) return range;
  // All, but for the first, which has no end before it.
  return {std::min(recorded.first + 1, recorded.last), recorded.last};
}

BatchRange checked(BatchRange wanted, BatchRange recorded) {
  if (wanted.first <= wanted.last && wanted.first >= recorded.first &&
      wanted.last <= recorded.last) {
    return wanted;
  }
  throw user_error("trace",
                   "batches {}:{} are not within those that every stage completed; choose some of "
                   "{}:{}",
                   wanted.first, wanted.last, recorded.first, recorded.last);
}

struct Samples {
  struct Chunk {
    std::vector<double> forward;
    std::vector<double> backward;
    std::vector<double> backward_input;
    std::vector<double> backward_weight;
  };
  std::vector<Chunk> chunks;
  std::vector<double> contribute;
  std::vector<double> update;

  std::vector<double>* of(const schedule::Action& action) {
    Chunk& chunk = chunks[static_cast<std::size_t>(action.chunk)];
    switch (action.kind) {
      case ActionKind::forward:
        return &chunk.forward;
      case ActionKind::backward:
        return &chunk.backward;
      case ActionKind::backward_input:
        return &chunk.backward_input;
      case ActionKind::backward_weight:
        return &chunk.backward_weight;
      case ActionKind::contribute:
        return &contribute;
      case ActionKind::update:
        return &update;
      default:
        return nullptr;
    }
  }
};

void add(Durations& sum, const Durations& other) {
  if (other.count == 0) return;
  const auto seconds = [](const Durations& of) { return of.mean * static_cast<double>(of.count); };
  const double all = seconds(sum) + seconds(other);
  sum.count += other.count;
  sum.mean = all / static_cast<double>(sum.count);
  sum.p50 = std::max(sum.p50, other.p50);
  sum.p95 = std::max(sum.p95, other.p95);
}

StageSummary summarize_stage(const std::vector<Span>& spans, int chunks, BatchRange batches) {
  Samples samples;
  samples.chunks.resize(static_cast<std::size_t>(chunks));
  StageSummary summary;
  bool any = false;
  for (const Span& span : spans) {
    const auto& action = span.action;
    if (action.batch < batches.first || action.batch > batches.last) continue;
    if (auto* list = samples.of(action)) list->push_back(span.seconds());
    if (action.kind != ActionKind::forward) continue;
    const std::int64_t delay = action.batch - action.version;
    summary.least_delay = any ? std::min(summary.least_delay, delay) : delay;
    summary.most_delay = any ? std::max(summary.most_delay, delay) : delay;
    any = true;
  }
  for (auto& chunk : samples.chunks) {
    summary.chunks.push_back({durations_of(std::move(chunk.forward)),
                              durations_of(std::move(chunk.backward)),
                              durations_of(std::move(chunk.backward_input)),
                              durations_of(std::move(chunk.backward_weight))});
  }
  summary.contribute = durations_of(std::move(samples.contribute));
  summary.update = durations_of(std::move(samples.update));
  return summary;
}

}  // namespace

Durations durations_of(std::vector<double> seconds) {
  if (seconds.empty()) return {};
  std::sort(seconds.begin(), seconds.end());
  const auto count = static_cast<double>(seconds.size());
  return {std::ssize(seconds), std::accumulate(seconds.begin(), seconds.end(), 0.0) / count,
          quantile(seconds, 0.5), quantile(seconds, 0.95)};
}

StageSummary together(std::span<const StageSummary> stages) {
  StageSummary sum = stages.front();
  for (const StageSummary& stage : stages.subspan(1)) {
    sum.usage += stage.usage;
    for (std::size_t c = 0; c < sum.chunks.size(); ++c) {
      add(sum.chunks[c].forward, stage.chunks[c].forward);
      add(sum.chunks[c].backward, stage.chunks[c].backward);
      add(sum.chunks[c].backward_input, stage.chunks[c].backward_input);
      add(sum.chunks[c].backward_weight, stage.chunks[c].backward_weight);
    }
    add(sum.contribute, stage.contribute);
    add(sum.update, stage.update);
    sum.least_delay = std::min(sum.least_delay, stage.least_delay);
    sum.most_delay = std::max(sum.most_delay, stage.most_delay);
  }
  const double seconds = sum.usage.seconds();
  sum.bubble_fraction = seconds > 0 ? sum.usage.bubble() / seconds : 0;
  return sum;
}

BatchEnds batch_ends(const Timeline& timeline) {
  struct End {
    std::size_t stages = 0;
    double at = 0;
  };
  std::map<std::int64_t, End> ends;
  for (const auto& spans : timeline.stages) {
    for (const Span& span : spans) {
      if (span.action.kind != ActionKind::contribute) continue;
      End& end = ends[span.action.batch];
      ++end.stages;
      end.at = std::max(end.at, span.end);
    }
  }
  BatchEnds result;
  for (const auto& [batch, end] : ends) {
    const bool complete = end.stages == timeline.stages.size();
    if (result.seconds.empty()) result.first = batch;
    const bool next = batch == result.first + std::ssize(result.seconds);
    if (complete && next) {
      result.seconds.push_back(end.at);
    } else if (!result.seconds.empty()) {
      break;
    }
  }
  return result;
}

TraceSummary summarize(const Timeline& timeline, std::optional<BatchRange> batches) {
  const BatchEnds ends = batch_ends(timeline);
  if (ends.seconds.empty()) {
    throw user_error("trace", "no batch was completed by all {} stages; record a longer run",
                     timeline.stages.size());
  }
  TraceSummary summary;
  summary.recorded = {ends.first, ends.first + std::ssize(ends.seconds) - 1};
  summary.batches = batches ? checked(*batches, summary.recorded)
                            : steady(summary.recorded, timeline.shape, summary.steady);
  const auto end_of_batch = [&](std::int64_t batch) {
    return batch < ends.first ? 0 : ends.seconds[static_cast<std::size_t>(batch - ends.first)];
  };
  summary.from = end_of_batch(summary.batches.first - 1);
  summary.to = end_of_batch(summary.batches.last);
  std::vector<double> steps;
  for (std::int64_t b = summary.batches.first; b <= summary.batches.last; ++b) {
    steps.push_back(end_of_batch(b) - end_of_batch(b - 1));
  }
  summary.step = durations_of(std::move(steps));
  const auto usages = usage(timeline, summary.from, summary.to);
  const double window = summary.to - summary.from;
  for (std::size_t s = 0; s < timeline.stages.size(); ++s) {
    StageSummary stage =
        summarize_stage(timeline.stages[s], timeline.shape.chunks, summary.batches);
    stage.usage = usages[s];
    stage.bubble_fraction = window > 0 ? usages[s].bubble() / window : 0;
    summary.bubble_fraction += stage.bubble_fraction / static_cast<double>(timeline.stages.size());
    summary.stages.push_back(std::move(stage));
  }
  return summary;
}

}  // namespace penstock::timeline
