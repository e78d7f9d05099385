#include "schedule/cut.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "schedule/lowering.h"
#include "schedule/repetition.h"
#include "schedule/sync_phases.h"

namespace penstock::schedule {
namespace {

using enum ActionKind;

/// What a stage has done before a cut.
struct Past {
  std::int64_t asked = 0;  // batches
  std::int64_t collected = 0;
  std::int64_t half_done = 0;                 // micro-batches between dX and dW
  std::vector<std::int64_t> forwards;         // by chunk
  std::vector<std::int64_t> input_gradients;  // likewise
};

/// One stage on its way from cut to cut in a run without end.
class Walk {
 public:
  Walk(const Schedule& schedule, int stage, PipelineShape shape)
      : asked_(std::make_unique<std::int64_t>(0)),
        stream_(schedule.generate(stage, shape, [asked = asked_.get()](std::int64_t batch) {
          *asked = std::max(*asked, batch + 1);
          return true;
        })) {
    past_.forwards.resize(static_cast<std::size_t>(shape.chunks));
    past_.input_gradients.resize(static_cast<std::size_t>(shape.chunks));
  }

  /// On to the next cut. The past is that of it, the block stands for the actions in between.
  void advance() {
    block_ = 0;
    const std::int64_t asked_before = *asked_;
    while (const auto action = stream_.next()) {
      block_ = with_action(block_, *action, cut_);
      count(*action);
      if (action->kind == update) break;
    }
    ++cut_;
    past_.asked = *asked_;
    block_ = with_number(block_, static_cast<std::uint64_t>(*asked_ - asked_before));
  }

  const Past& past() const { return past_; }
  std::uint64_t block() const { return block_; }

 private:
  void count(const Action& action) {
    const auto chunk = static_cast<std::size_t>(action.chunk);
    if (action.kind == forward) ++past_.forwards[chunk];
    if (action.kind == backward || action.kind == backward_input) ++past_.input_gradients[chunk];
    if (action.kind == await_reduction) ++past_.collected;
    if (action.kind == backward_input) ++past_.half_done;
    if (action.kind == backward_weight) --past_.half_done;
  }

  std::unique_ptr<std::int64_t> asked_;  // the stream points at it
  ActionStream stream_;
  Past past_;
  std::int64_t cut_ = 0;
  std::uint64_t block_ = 0;
};

/// All stages at the same cut.
class Cut {
 public:
  Cut(const Schedule& schedule, PipelineShape shape) : schedule_(schedule), shape_(shape) {
    for (int s = 0; s < shape.stages; ++s) walks_.emplace_back(schedule, s, shape);
  }

  void advance() {
    for (auto& walk : walks_) walk.advance();
    ++version_;
  }

  std::int64_t version() const { return version_; }
  std::uint64_t block(int stage) const { return walks_[index(stage)].block(); }

  /// Of rules (1) to (4) and (6).
  std::string complaint() const {
    if (auto text = complaint_about_questions(); !text.empty()) return text;
    if (auto text = complaint_about_reductions(); !text.empty()) return text;
    if (auto text = complaint_about_half_done(); !text.empty()) return text;
    for (int piece = 0; piece + 1 < shape_.pieces(); ++piece) {
      for (const bool gradients : {false, true}) {
        if (auto text = complaint_about(piece, gradients); !text.empty()) return text;
      }
    }
    return "";
  }

  /// Of rule (5), if this is the cut behind `earlier`.
  std::string complaint_since(const std::vector<std::int64_t>& sent_earlier) const {
    for (int piece = 0; piece + 1 < shape_.pieces(); ++piece) {
      for (const bool gradients : {false, true}) {
        const auto sent_before = sent_earlier[channel(piece, gradients)];
        if (received(piece, gradients) >= sent_before) continue;
        return fmt::format(
            "{} of stage {} that is in transit at the cut behind W({}) is received "
            "only behind W({})",
            what(gradients), sender(piece, gradients).stage, version_ - 1, version_);
      }
    }
    return "";
  }

  /// By channel(): messages sent before the cut.
  std::vector<std::int64_t> sent_messages() const {
    std::vector<std::int64_t> result(2 * index(shape_.pieces() - 1));
    for (int piece = 0; piece + 1 < shape_.pieces(); ++piece) {
      for (const bool gradients : {false, true}) {
        result[channel(piece, gradients)] = sent(piece, gradients);
      }
    }
    return result;
  }

  InTransit to(Place place) const {
    const int piece = piece_at(schedule_.placement, shape_, place);
    InTransit result;
    if (piece > 0) result.activations = sent(piece - 1, false) - received(piece - 1, false);
    if (piece + 1 < shape_.pieces()) result.gradients = sent(piece, true) - received(piece, true);
    return result;
  }

 private:
  static std::size_t index(int number) { return static_cast<std::size_t>(number); }
  const Past& past(int stage) const { return walks_[index(stage)].past(); }

  // A channel lies between a piece of the model and the next one.
  static std::size_t channel(int piece, bool gradients) {
    return 2 * index(piece) + (gradients ? 1 : 0);
  }
  static const char* what(bool gradients) { return gradients ? "a gradient" : "an activation"; }
  Place sender(int piece, bool gradients) const {
    return place_of(schedule_.placement, shape_, gradients ? piece + 1 : piece);
  }
  Place receiver(int piece, bool gradients) const { return sender(piece, !gradients); }
  std::int64_t done(Place place, bool gradients) const {
    const Past& at = past(place.stage);
    return (gradients ? at.input_gradients : at.forwards)[index(place.chunk)];
  }
  std::int64_t sent(int piece, bool gradients) const {
    return done(sender(piece, gradients), gradients);
  }
  std::int64_t received(int piece, bool gradients) const {
    return done(receiver(piece, gradients), gradients);
  }

  std::string complaint_about_questions() const {
    const std::int64_t declared = schedule_.begun_at(version_, shape_);
    for (int s = 0; s < shape_.stages; ++s) {
      const std::int64_t asked = past(s).asked;
      if (s == 0 ? asked == declared : asked <= declared) continue;
      return fmt::format(
          "stage {} has asked for {} batches when it makes W({}), but the schedule declares that "
          "stage 0 has asked for {} and no stage for more",
          s, asked, version_, declared);
    }
    return "";
  }

  std::string complaint_about_reductions() const {
    const std::int64_t collected = past(0).collected;
    for (int s = 0; s < shape_.stages; ++s) {
      if (past(s).collected == collected) continue;
      return fmt::format(
          "when it makes W({}), stage 0 has collected the reductions of {} batches, stage {} of {}",
          version_, collected, s, past(s).collected);
    }
    return "";
  }

  std::string complaint_about_half_done() const {
    for (int s = 0; s < shape_.stages; ++s) {
      if (past(s).half_done == 0) continue;
      return fmt::format("when stage {} makes W({}), {} micro-batch{} lie{} between dX and dW", s,
                         version_, past(s).half_done, past(s).half_done == 1 ? "" : "es",
                         past(s).half_done == 1 ? "s" : "");
    }
    return "";
  }

  std::string complaint_about(int piece, bool gradients) const {
    const std::int64_t waiting = sent(piece, gradients) - received(piece, gradients);
    const int from = sender(piece, gradients).stage;
    const int to = receiver(piece, gradients).stage;
    if (waiting < 0) {
      return fmt::format(
          "stage {} receives {} before it makes W({}) that stage {} sends after it has made W({})",
          to, what(gradients), version_, from, version_);
    }
    if (waiting > edge_capacity) {
      return fmt::format(
          "{} messages with {} each are in transit from stage {} to stage {} at the cut behind "
          "W({}), but a channel holds {}",
          waiting, what(gradients), from, to, version_, edge_capacity);
    }
    return "";
  }

  const Schedule& schedule_;
  const PipelineShape shape_;
  std::vector<Walk> walks_;
  std::int64_t version_ = 0;
};

/// Goes from cut to cut until `enough`.
template <class Enough>
std::string first_complaint(const Schedule& schedule, PipelineShape shape, Enough enough) {
  Cut cut(schedule, shape);
  auto sent = cut.sent_messages();
  while (!enough(cut)) {
    cut.advance();
    if (auto complaint = cut.complaint(); !complaint.empty()) return complaint;
    if (auto complaint = cut.complaint_since(sent); !complaint.empty()) return complaint;
    sent = cut.sent_messages();
  }
  return "";
}

}  // namespace

std::string complaint_about_cuts(const Schedule& schedule, PipelineShape shape) {
  // Once the blocks repeat, what the rules are about grows by the same numbers with every period.
  Repetition repetition(shape.stages);
  bool endless = false;
  const std::int64_t most = 64 + 16 * std::int64_t{shape.pieces()};
  auto complaint = first_complaint(schedule, shape, [&](const Cut& cut) {
    if (cut.version() > 0) {
      for (int s = 0; s < shape.stages; ++s) repetition.add(s, cut.block(s));
    }
    endless = cut.version() >= most;
    return endless || repetition.period() > 0;
  });
  if (complaint.empty() && endless && repetition.period() == 0) {
    complaint = fmt::format("the actions between {} updates do not repeat", most);
  }
  return complaint;
}

std::string complaint_about_cuts(const Schedule& schedule, PipelineShape shape,
                                 std::int64_t updates) {
  return first_complaint(schedule, shape,
                         [updates](const Cut& cut) { return cut.version() >= updates; });
}

std::string complaint_about_cuts_with_sync_phases(const Schedule& delayed, PipelineShape shape) {
  auto complaint = complaint_about_cuts(delayed, shape);
  constexpr std::int64_t most = 3;
  for (std::int64_t between = 1; complaint.empty() && between <= most; ++between) {
    const auto phased = with_sync_phases(delayed, most, most + between);
    complaint = complaint_about_cuts(phased, shape, most + between + most);
  }
  return complaint;
}

std::vector<InTransit> in_transit(const Schedule& schedule, PipelineShape shape, int stage,
                                  std::int64_t cut) {
  Cut all(schedule, shape);
  while (all.version() < cut) all.advance();
  std::vector<InTransit> result;
  for (int chunk = 0; chunk < shape.chunks; ++chunk) result.push_back(all.to({stage, chunk}));
  return result;
}

ActionStream with_capture(ActionStream stream, CapturePlan plan, HasBatch has_batch) {
  while (const auto action = stream.next()) {
    co_yield *action;
    if (action->kind != update || !plan.due(action->version)) continue;
    const std::int64_t begun = plan.begun(action->version);
    bool regular = true;
    for (std::int64_t batch = action->version; regular && batch < begun; ++batch) {
      regular = has_batch(batch);
    }
    if (!regular) continue;
    Action copy = *action;
    copy.kind = capture;
    co_yield copy;
  }
}

ActionStream resumed(ActionStream stream, std::int64_t cut) {
  while (true) {
    const auto action = stream.next();
    if (!action) throw std::logic_error(fmt::format("the run has no update to W({})", cut));
    if (action->kind == update && action->version == cut) break;
  }
  while (const auto action = stream.next()) co_yield *action;
}

}  // namespace penstock::schedule
