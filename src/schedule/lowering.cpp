#include "schedule/lowering.h"

#include <deque>

namespace penstock::schedule {
namespace {

/// A stream that turns each action of another one into one or more.
class Expansion : public ActionStream {
 public:
  explicit Expansion(StreamPtr inner) : inner_(std::move(inner)) {}

  std::optional<Action> next() final {
    if (pending_.empty()) {
      const auto action = inner_->next();
      if (!action) return std::nullopt;
      expand(*action, pending_);
    }
    const Action action = pending_.front();
    pending_.pop_front();
    return action;
  }

 private:
  virtual void expand(const Action& action, std::deque<Action>& out) = 0;

  StreamPtr inner_;
  std::deque<Action> pending_;
};

class Evaluation final : public Expansion {
 public:
  Evaluation(StreamPtr inner, EvaluationPlan plan, HasBatch has_batch)
      : Expansion(std::move(inner)), plan_(plan), has_batch_(std::move(has_batch)) {}

 private:
  void expand(const Action& action, std::deque<Action>& out) override {
    out.push_back(action);
    if (action.kind != ActionKind::update || !due(action.version)) return;
    for (std::int64_t i = 0; i < plan_.micro_batches; ++i) {
      out.push_back({ActionKind::evaluate, action.version, i, action.version});
    }
  }

  // W(v) is the run's last version exactly if there is no batch v.
  bool due(std::int64_t version) const {
    return (plan_.every > 0 && version % plan_.every == 0) || !has_batch_(version);
  }

  const EvaluationPlan plan_;
  const HasBatch has_batch_;
};

class Transfers final : public Expansion {
 public:
  Transfers(StreamPtr inner, int stage, int stages)
      : Expansion(std::move(inner)), first_(stage == 0), last_(stage == stages - 1) {}

 private:
  void expand(const Action& action, std::deque<Action>& out) override {
    const auto with_kind = [&](ActionKind kind) {
      return Action{kind, action.batch, action.micro_batch, action.version};
    };
    const bool runs_forward =
        action.kind == ActionKind::forward || action.kind == ActionKind::evaluate;
    const bool runs_backward = action.kind == ActionKind::backward;
    if (runs_forward && !first_) out.push_back(with_kind(ActionKind::receive_activation));
    if (runs_backward && !last_) out.push_back(with_kind(ActionKind::receive_gradient));
    if (action.kind == ActionKind::update) out.push_back(with_kind(ActionKind::await_reduction));
    out.push_back(action);
    if (runs_forward && !last_) out.push_back(with_kind(ActionKind::send_activation));
    if (runs_backward && !first_) out.push_back(with_kind(ActionKind::send_gradient));
  }

  const bool first_;
  const bool last_;
};

}  // namespace

StreamPtr with_evaluation(StreamPtr stream, EvaluationPlan plan, HasBatch has_batch) {
  return std::make_unique<Evaluation>(std::move(stream), plan, std::move(has_batch));
}

StreamPtr with_transfers(StreamPtr stream, int stage, int stages) {
  return std::make_unique<Transfers>(std::move(stream), stage, stages);
}

}  // namespace penstock::schedule
