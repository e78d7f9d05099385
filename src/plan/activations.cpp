#include "plan/activations.h"

#include <algorithm>

namespace penstock::plan {
namespace {

using schedule::Action;
using schedule::ActionKind;

const UnitLoad& unit_at(const Workload& workload, std::int64_t u) {
  return workload.units[static_cast<std::size_t>(u)];
}

/// Of one unit, from dX to dW: as much as it saved; the embedding's dy; the head's logits'
/// gradients beside.
double held_by(const Workload& workload, const UnitLoad& unit) {
  return unit.kind == model::UnitKind::embedding ? workload.stream() : unit.saved + unit.logits;
}

/// What a unit's backward needs beyond what it saved and what the units behind it hold: gradients
/// on their way, or, in bf16, a product on its way into the fp32 gradient.
double working_bytes(const Workload& workload, const UnitLoad& unit, double tokens,
                     double chunk_tokens) {
  const double gradients = tokens * unit.working + chunk_tokens * unit.logits;
  if (unit.product == 0) return gradients;
  return std::max(gradients, tokens * 2 * workload.stream() + unit.product);
}

/// What the input that a segment starts from takes, per token.
double input_bytes(const Workload& workload, const UnitLoad& first) {
  return first.kind == model::UnitKind::embedding ? 0 : workload.stream();
}

class Piece {
 public:
  Piece(const Workload& workload, model::UnitRange range, Recompute recompute, double tokens)
      : workload_(workload),
        range_(range),
        tokens_(tokens),
        segments_(segments_of(workload, range, recompute)) {}

  PieceBytes bytes() const {
    PieceBytes all;
    for (const auto& segment : segments_) all.kept += tokens_ * kept_by(segment);
    double before = all.kept;  // what the segments up to here keep
    double held = 0;
    for (std::size_t s = segments_.size(); s-- > 0;) {
      before -= tokens_ * kept_by(segments_[s]);
      run_back(segments_[s], before, held, all);
    }
    all.held = held;
    const double numbers = tokens_ * bytes_of_token_numbers;
    for (double* part : {&all.kept, &all.held, &all.backward, &all.input_gradient}) {
      *part += numbers;
    }
    return all;
  }

 private:
  const UnitLoad& unit(std::size_t u) const {
    return unit_at(workload_, range_.first + static_cast<std::int64_t>(u));
  }

  double saved_by(const model::Segment& segment) const {
    double saved = 0;
    for (std::size_t u = segment.first; u < segment.last; ++u) saved += unit(u).saved;
    return saved;
  }

  double kept_by(const model::Segment& segment) const {
    return segment.recomputed ? input_bytes(workload_, unit(segment.first)) : saved_by(segment);
  }

  /// The backward of a segment, all of whose units have saved what they need by now.
  void run_back(const model::Segment& segment, double before, double& held, PieceBytes& all) const {
    double live = before + tokens_ * saved_by(segment);
    for (std::size_t u = segment.last; u-- > segment.first;) {
      const UnitLoad& one = unit(u);
      const double chunk = std::min(tokens_, one.chunk);
      all.backward = std::max(
          all.backward, live + working_bytes(workload_, one, tokens_, chunk) + chunk * one.paired);
      // Whoever postpones dW holds the gradients of all chunks.
      all.input_gradient = std::max(all.input_gradient,
                                    live + held + working_bytes(workload_, one, tokens_, tokens_));
      live -= tokens_ * one.saved;
      held += tokens_ * held_by(workload_, one);
    }
  }

  const Workload& workload_;
  const model::UnitRange range_;
  const double tokens_;
  const std::vector<model::Segment> segments_;
};

/// The compute actions of `stage` in two batches. A batch repeats its pattern once the pipeline is
/// full, so that a long one is like one of a few micro-batches per stage.
schedule::ActionStream short_run(const Candidate& candidate, int stage) {
  constexpr int patterns = 4;
  const auto& schedule = *candidate.schedule;
  auto shape = candidate.shape;
  shape.micro_batches = std::min(shape.micro_batches, patterns * shape.stages);
  if (schedule.only_shape || !schedule.complaint(shape).empty()) shape = candidate.shape;
  return schedule.generate(stage, shape, [](std::int64_t batch) { return batch < 2; });
}

/// Whether the schedule cuts backwards in dX and dW.
bool splits_backward(const Candidate& candidate) {
  const auto& schedule = *candidate.schedule;
  schedule::PipelineShape shape{1, 1, candidate.shape.chunks};
  if (schedule.only_shape || !schedule.complaint(shape).empty()) shape = candidate.shape;
  auto actions = schedule.generate(0, shape, [](std::int64_t batch) { return batch == 0; });
  while (const auto action = actions.next()) {
    if (action->kind == ActionKind::backward_input) return true;
  }
  return false;
}

StageActivations by_order(const std::vector<PieceBytes>& chunks, const Candidate& candidate,
                          int stage) {
  StageActivations all;
  double now = 0;
  const auto work = [&](double most, double before, double after) {
    all.during_backward = std::max(all.during_backward, now - before + most);
    now += after - before;
  };
  auto actions = short_run(candidate, stage);
  while (const auto action = actions.next()) {
    const PieceBytes& bytes = chunks[static_cast<std::size_t>(action->chunk)];
    if (action->kind == ActionKind::forward) now += bytes.kept;
    if (action->kind == ActionKind::backward) work(bytes.backward, bytes.kept, 0);
    if (action->kind == ActionKind::backward_input) {
      work(bytes.input_gradient, bytes.kept, bytes.held);
    }
    if (action->kind == ActionKind::backward_weight) now -= bytes.held;
    if (action->kind == ActionKind::update) all.at_update = std::max(all.at_update, now);
    all.most = std::max(all.most, now);
  }
  return all;
}

StageActivations by_limits(const std::vector<PieceBytes>& chunks, const Candidate& candidate,
                           int stage) {
  const auto limits = candidate.schedule->limits(stage, candidate.shape);
  const bool split = splits_backward(candidate);
  double mean = 0;
  double working = 0;
  for (const PieceBytes& bytes : chunks) {
    mean += bytes.kept / static_cast<double>(chunks.size());
    working = std::max(working, (split ? bytes.input_gradient : bytes.backward) - bytes.kept);
  }
  StageActivations all;
  all.most = limits.in_flight * mean;
  all.during_backward = all.most + working;
  // A batch's update comes after a backward; where batches are flushed, after all of them.
  if (limits.most_delay > 0) all.at_update = (limits.in_flight - 1) * mean;
  return all;
}

}  // namespace

std::vector<model::Segment> segments_of(const Workload& workload, model::UnitRange range,
                                        Recompute recompute) {
  std::vector<model::UnitKind> kinds;
  for (auto u = range.first; u < range.last; ++u) kinds.push_back(unit_at(workload, u).kind);
  return model::segments(kinds, recompute);
}

PieceBytes piece_bytes(const Workload& workload, const Candidate& candidate, int stage, int chunk) {
  const auto tokens = static_cast<double>(candidate.micro_batch * workload.model.seq);
  return Piece(workload, candidate.piece(stage, chunk), candidate.recompute, tokens).bytes();
}

StageActivations activations_of(const Workload& workload, const Candidate& candidate, int stage) {
  std::vector<PieceBytes> chunks;
  for (int chunk = 0; chunk < candidate.shape.chunks; ++chunk) {
    chunks.push_back(piece_bytes(workload, candidate, stage, chunk));
  }
  return follows_order(candidate) ? by_order(chunks, candidate, stage)
                                  : by_limits(chunks, candidate, stage);
}

bool follows_order(const Candidate& candidate) {
  return candidate.recompute != Recompute::none && splits_backward(candidate);
}

}  // namespace penstock::plan
