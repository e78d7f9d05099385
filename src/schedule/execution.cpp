#include "schedule/execution.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>

#include "schedule/collected_clock.h"
#include "schedule/proof_channel.h"
#include "schedule/repetition.h"

namespace penstock::schedule {
namespace {

using enum ActionKind;

/// A reduction that not all stages have collected.
struct Round {
  std::vector<bool> arrived;
  int missing = 0;      // shares
  int uncollected = 0;  // stages
  std::int64_t slot = 0;
  CollectedClockPtr clock;
  std::vector<int> waiting;
};

struct Stage {
  ActionSource source;
  StageRules rules;
  CollectedClockPtr clock;
  std::optional<Action> current;
  bool fetched = false;
  bool done = false;
  bool failed = false;
  std::int64_t index = -1;
  std::int64_t slot = 0;
  bool was_blocked = false;
  std::uint64_t hash = 0;        // of the actions since the last contribute
  std::int64_t contributed = 0;  // batches
  std::int64_t updates = 0;
};

bool is_work(ActionKind kind) { return !is_waiting(kind) && kind != contribute; }

class Execution {
 public:
  Execution(const Schedule& schedule, PipelineShape shape, Run run,
            std::vector<ActionSource> sources, std::optional<SlotWindow> window);
  ExecutionResult execute();

 private:
  bool failed() const { return result_.failure.has_value(); }
  void wake(int stage);
  void run(int number);
  void fetch(int number);
  bool may_go(int number);
  void perform(int number);
  void receive(int number, const Action& action);
  void send(int number, const Action& action);
  void on_contribute(int number, const Action& action);
  void on_await_reduction(int number, const Action& action);
  void check_decision(int number);
  void fail(int number, BrokenRule broken);
  void fail_by_deadlock();
  std::string waits_for(int number);
  void draw(int number, const Action& action, std::int64_t slot);
  void draw_rest();

  Stage& stage(int number) { return stages_[static_cast<std::size_t>(number)]; }
  Round& round(std::int64_t batch);
  std::size_t edge_index(int number, const Action& action) const;
  ProofChannel& edge(int number, const Action& action) {
    return edges_[edge_index(number, action)];
  }
  int neighbour(int number, const Action& action) const;
  bool waits_for_decision(const Stage& waiting) const {
    return waiting.source.asked != nullptr && *waiting.source.asked > decided_;
  }

  const Schedule& schedule_;
  const PipelineShape shape_;
  const Run run_;
  const std::int64_t overlap_;
  const std::optional<SlotWindow> window_;
  std::vector<Stage> stages_;
  std::vector<ProofChannel> edges_;
  std::deque<Round> rounds_;  // of consecutive batches
  std::int64_t first_round_ = 0;
  Repetition repetition_;
  std::vector<int> ready_;
  std::vector<bool> is_ready_;
  std::int64_t decided_ = -1;                      // highest batch that the first stage has decided
  std::vector<std::int64_t> updates_at_decision_;  // of that stage, for every batch
  std::vector<int> waiting_for_decision_;
  ExecutionResult result_;
};

Execution::Execution(const Schedule& schedule, PipelineShape shape, Run run,
                     std::vector<ActionSource> sources, std::optional<SlotWindow> window)
    : schedule_(schedule),
      shape_(shape),
      run_(run),
      overlap_(schedule.reductions(shape)),
      window_(window),
      repetition_(shape.stages) {
  const auto count = static_cast<std::size_t>(shape.stages);
  const auto start = std::make_shared<const CollectedClock>(count, 0);
  stages_.reserve(count);
  for (int s = 0; s < shape.stages; ++s) {
    stages_.push_back({std::move(sources[static_cast<std::size_t>(s)]),
                       StageRules(schedule, shape, s, run),
                       start,
                       {}});
  }
  const auto boundaries = static_cast<std::size_t>(shape.pieces() - 1);
  edges_.resize(3 * boundaries);
  for (std::size_t e = 0; e < edges_.size(); ++e) {
    const bool evaluation = e >= 2 * boundaries;
    edges_[e].capacity =
        static_cast<std::size_t>(evaluation ? evaluation_edge_capacity(shape) : edge_capacity);
    edges_[e].seen = start;
  }
  is_ready_.assign(count, false);
  for (int s = shape.stages - 1; s >= 0; --s) wake(s);
  result_.cells.resize(count);
}

ExecutionResult Execution::execute() {
  // To draw, the other stages go on as far as they get.
  while (!ready_.empty() && (!failed() || window_)) {
    const int number = ready_.back();
    ready_.pop_back();
    is_ready_[static_cast<std::size_t>(number)] = false;
    run(number);
  }
  const bool all_done = std::ranges::all_of(stages_, &Stage::done);
  if (!failed() && !all_done) fail_by_deadlock();
  if (window_) draw_rest();
  for (const auto& each : stages_) result_.stages.push_back(each.rules.facts());
  result_.period = repetition_.period();
  return std::move(result_);
}

void Execution::wake(int number) {
  if (number < 0 || is_ready_[static_cast<std::size_t>(number)]) return;
  is_ready_[static_cast<std::size_t>(number)] = true;
  ready_.push_back(number);
}

Round& Execution::round(std::int64_t batch) {
  while (batch - first_round_ >= static_cast<std::int64_t>(rounds_.size())) {
    const auto count = static_cast<std::size_t>(shape_.stages);
    rounds_.push_back({std::vector<bool>(count),
                       shape_.stages,
                       shape_.stages,
                       0,
                       std::make_shared<const CollectedClock>(count, 0),
                       {}});
    result_.reductions_kept = std::max(result_.reductions_kept, static_cast<int>(rounds_.size()));
  }
  return rounds_[static_cast<std::size_t>(batch - first_round_)];
}

std::size_t Execution::edge_index(int number, const Action& action) const {
  const auto piece =
      static_cast<std::size_t>(piece_at(schedule_.placement, shape_, {number, action.chunk}));
  const auto boundaries = static_cast<std::size_t>(shape_.pieces() - 1);
  switch (action.kind) {
    case receive_activation:
      return piece - 1;
    case send_activation:
      return piece;
    case receive_gradient:
      return boundaries + piece;
    case send_gradient:
      return boundaries + piece - 1;
    case receive_evaluation:
      return 2 * boundaries + piece - 1;
    default:
      return 2 * boundaries + piece;
  }
}

int Execution::neighbour(int number, const Action& action) const {
  const int piece = piece_at(schedule_.placement, shape_, {number, action.chunk});
  const bool towards_end = action.kind == send_activation || action.kind == receive_gradient ||
                           action.kind == send_evaluation;
  return place_of(schedule_.placement, shape_, towards_end ? piece + 1 : piece - 1).stage;
}

void Execution::fetch(int number) {
  Stage& me = stage(number);
  me.current = me.source.next();
  me.fetched = true;
  ++me.index;
  if (me.source.asked == nullptr) return;
  if (*me.source.out_of_turn >= 0) {
    fail(number, {"batches in turn",
                  fmt::format("the stage asks whether the run has batch {}, but the next one it "
                              "can start is {}; ask when about to start it",
                              *me.source.out_of_turn, *me.source.asked + 1)});
    return;
  }
  if (me.current && me.current->kind == forward && me.current->batch > *me.source.asked) {
    fail(number,
         {"batches in turn",
          fmt::format("the stage has not asked whether the run has batch {}", me.current->batch)});
    return;
  }
  if (number == 0 && *me.source.asked > decided_) {
    decided_ = *me.source.asked;
    updates_at_decision_.resize(static_cast<std::size_t>(decided_) + 1, me.updates);
    for (const int waiting : std::exchange(waiting_for_decision_, {})) wake(waiting);
  }
}

bool Execution::may_go(int number) {
  Stage& me = stage(number);
  if (waits_for_decision(me)) {
    waiting_for_decision_.push_back(number);
    return false;
  }
  if (!me.current) return true;
  const Action& action = *me.current;
  if (is_receive(action.kind)) {
    ProofChannel& from = edge(number, action);
    if (from.count > 0) return true;
    from.waiting = number;
    return false;
  }
  if (is_send(action.kind)) {
    ProofChannel& to = edge(number, action);
    if (to.count < to.capacity) return true;
    to.waiting = number;
    me.was_blocked = true;
    return false;
  }
  if (action.kind == await_reduction) {
    Round& awaited = round(action.batch);
    if (awaited.missing == 0) return true;
    awaited.waiting.push_back(number);
    return false;
  }
  return true;
}

void Execution::run(int number) {
  Stage& me = stage(number);
  while (!me.done && !me.failed) {
    if (!me.fetched) {
      fetch(number);
      if (me.failed) return;
      auto broken = me.current ? me.rules.check(*me.current) : me.rules.check_end();
      if (broken) return fail(number, std::move(*broken));
    }
    if (!may_go(number)) return;
    check_decision(number);
    if (me.failed) return;
    if (me.current) {
      perform(number);
      if (me.failed) return;
    } else {
      me.done = true;
    }
    me.fetched = false;
  }
}

void Execution::perform(int number) {
  Stage& me = stage(number);
  const Action& action = *me.current;
  me.hash = with_action(me.hash, action, me.contributed);
  if (is_receive(action.kind)) {
    receive(number, action);
  } else if (is_send(action.kind)) {
    send(number, action);
  } else if (action.kind == contribute) {
    on_contribute(number, action);
    repetition_.add(number, std::exchange(me.hash, 0));
    ++me.contributed;
  } else if (action.kind == await_reduction) {
    on_await_reduction(number, action);
  } else {
    if (window_) draw(number, action, me.slot);
    ++me.slot;
    if (action.kind == update) ++me.updates;
  }
}

/// The first stage may wait in an evaluation for all others to begin it.
void Execution::check_decision(int number) {
  const Stage& me = stage(number);
  if (run_.evaluation.micro_batches == 0 || me.source.asked == nullptr || *me.source.asked < 0) {
    return;
  }
  const auto batch = *me.source.asked;
  const auto evaluated = updates_at_decision_[static_cast<std::size_t>(batch)];
  if (me.updates >= evaluated) return;
  fail(
      number,
      {"evaluations",
       fmt::format("to go on the stage must know whether the run has batch {}, but stage 0 decides "
                   "that behind its evaluation of W({}), in which it may wait for this stage's; "
                   "update at the same place on both",
                   batch, evaluated)});
}

void Execution::receive(int number, const Action& action) {
  Stage& me = stage(number);
  ProofChannel& from = edge(number, action);
  const ProofMessage& message = from.front();
  if (schedule_.updates_together && message.version != action.version) {
    return fail(number, {"same weights on all stages",
                         fmt::format("stage {} made the message with W({})",
                                     neighbour(number, action), message.version)});
  }
  me.slot = std::max(me.slot, message.slot);
  if (message.clock != from.seen) {
    me.clock = merged(me.clock, message.clock);
    from.seen = message.clock;
  }
  from.freed = me.slot;
  from.pop();
  wake(std::exchange(from.waiting, -1));
}

void Execution::send(int number, const Action& action) {
  Stage& me = stage(number);
  ProofChannel& to = edge(number, action);
  if (std::exchange(me.was_blocked, false)) me.slot = std::max(me.slot, to.freed);
  ProofMessage& message = to.push();
  message.version = action.version;
  message.slot = me.slot;
  if (message.clock != me.clock) message.clock = me.clock;
  wake(std::exchange(to.waiting, -1));
}

void Execution::on_contribute(int number, const Action& action) {
  Stage& me = stage(number);
  const auto slowest = std::ranges::min_element(*me.clock);
  const int needed = static_cast<int>(action.batch - *slowest) + 1;
  if (needed > overlap_) {
    return fail(number,
                {"reductions under way",
                 fmt::format("stage {} may not have collected the reduction of batch {} yet, so {} "
                             "are under way, but the schedule declares {}; collect earlier or "
                             "declare more",
                             slowest - me.clock->begin(), *slowest, needed, overlap_)});
  }
  result_.reductions = std::max(result_.reductions, needed);
  Round& mine = round(action.batch);
  mine.arrived[static_cast<std::size_t>(number)] = true;
  mine.slot = std::max(mine.slot, me.slot);
  mine.clock = merged(mine.clock, me.clock);
  if (--mine.missing > 0) return;
  for (const int waiting : mine.waiting) wake(waiting);
}

void Execution::on_await_reduction(int number, const Action& action) {
  Stage& me = stage(number);
  Round& awaited = round(action.batch);
  me.slot = std::max(me.slot, awaited.slot);
  auto clock = std::make_shared<CollectedClock>(*merged(me.clock, awaited.clock));
  (*clock)[static_cast<std::size_t>(number)] = static_cast<std::int32_t>(action.batch + 1);
  me.clock = std::move(clock);
  --awaited.uncollected;
  // Every stage collects them in order, so none is needed again.
  while (!rounds_.empty() && rounds_.front().uncollected == 0) {
    rounds_.pop_front();
    ++first_round_;
  }
}

void Execution::fail(int number, BrokenRule broken) {
  Stage& me = stage(number);
  me.failed = true;
  if (failed()) return;
  result_.failure = {std::move(broken), number, me.index, me.slot, me.current, {}};
}

std::string Execution::waits_for(int number) {
  const Stage& me = stage(number);
  if (waits_for_decision(me)) {
    return fmt::format("stage {} waits for stage 0 to decide about batch {}", number,
                       *me.source.asked);
  }
  const Action& action = *me.current;
  if (action.kind == await_reduction) {
    std::vector<int> missing;
    const auto& arrived = round(action.batch).arrived;
    for (int s = 0; s < shape_.stages; ++s) {
      if (!arrived[static_cast<std::size_t>(s)]) missing.push_back(s);
    }
    return fmt::format("stage {} waits for the share of stage{} {} in the reduction of batch {}",
                       number, missing.size() == 1 ? "" : "s", fmt::join(missing, ", "),
                       action.batch);
  }
  return fmt::format("stage {} waits for stage {} in {}{}", number, neighbour(number, action),
                     describe(action), is_send(action.kind) ? ", its channel is full" : "");
}

void Execution::fail_by_deadlock() {
  std::vector<int> stuck;
  for (int s = 0; s < shape_.stages; ++s) {
    if (!stage(s).done) stuck.push_back(s);
  }
  std::vector<std::string> waiting;
  for (const int s : stuck) waiting.push_back(waits_for(s));
  constexpr std::size_t most = 4;
  std::string detail = fmt::format(
      "{}", fmt::join(waiting.begin(),
                      waiting.begin() + static_cast<std::ptrdiff_t>(std::min(most, waiting.size())),
                      "; "));
  if (waiting.size() > most) {
    detail += fmt::format("; and {} more, see below", waiting.size() - most);
  }
  fail(stuck.front(), {"progress", "no stage can go on: " + detail});
  result_.failure->waiting = std::move(waiting);
}

void Execution::draw(int number, const Action& action, std::int64_t slot) {
  if (slot < window_->first || slot >= window_->end) return;
  result_.cells[static_cast<std::size_t>(number)].push_back({slot, cell_text(action)});
}

void Execution::draw_rest() {
  for (int s = 0; s < shape_.stages; ++s) {
    Stage& me = stage(s);
    const bool is_bad = result_.failure && result_.failure->stage == s;
    if (me.done) continue;
    if (is_bad && !me.current) {
      result_.cells[static_cast<std::size_t>(s)].push_back({me.slot, "end"});
      continue;
    }
    std::int64_t slot = me.slot;
    // In a deadlock, what each stage waits in is shown like work.
    const bool in_deadlock = result_.failure && !result_.failure->waiting.empty();
    if (me.fetched && me.current && (is_bad || in_deadlock || is_work(me.current->kind))) {
      draw(s, *me.current, slot++);
    }
    while (slot < window_->end) {
      const auto action = me.source.next();
      if (!action) break;
      if (is_work(action->kind)) draw(s, *action, slot++);
    }
  }
}

}  // namespace

ExecutionResult execute(const Schedule& schedule, PipelineShape shape, Run run,
                        std::vector<ActionSource> sources, std::optional<SlotWindow> window) {
  return Execution(schedule, shape, run, std::move(sources), window).execute();
}

}  // namespace penstock::schedule
