#pragma once
// What a run computes, without numbers: every value is a hash of what it is made from. Two lists of
// actions with the same outcome train the same model. Written without a look at the validator.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "schedule/lowering.h"
#include "schedule/schedule.h"

namespace penstock::tests {

struct Outcome {
  std::vector<std::uint64_t> weights;  // of every piece, after the run
  std::vector<std::uint64_t> losses;   // of the batches, as reported
  std::vector<std::uint64_t> validation_losses;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// Runs the stages in an order drawn from `seed`, over first-in-first-out channels of the real
/// capacities. Slots, gradient buffers and reductions are reused as in the engine and nothing
/// guards them: a wrong order shows as another outcome. Nothing where the run gets stuck, does what
/// cannot be done (a backward without its forward), or leaves something behind.
class SymbolicRun {
 public:
  using Lists = std::vector<std::vector<schedule::Action>>;

  SymbolicRun(const schedule::Schedule& schedule, schedule::PipelineShape shape, const Lists& lists,
              std::uint64_t seed)
      : schedule_(schedule),
        shape_(shape),
        lists_(lists),
        random_(seed),
        stages_(lists.size()),
        rounds_(static_cast<std::size_t>(schedule.reductions(shape))) {
    for (int s = 0; s < shape.stages; ++s) {
      const auto limits = schedule.limits(s, shape);
      auto& stage = stages_[static_cast<std::size_t>(s)];
      for (int c = 0; c < shape.chunks; ++c) {
        Piece piece;
        piece.number = schedule::piece_at(schedule.placement, shape, {s, c});
        piece.slots.resize(static_cast<std::size_t>(limits.versions));
        piece.slots[0] = hash({1, static_cast<std::uint64_t>(piece.number)});
        piece.gradients.resize(static_cast<std::size_t>(limits.gradient_buffers));
        piece.losses.resize(static_cast<std::size_t>(limits.gradient_buffers));
        stage.pieces.push_back(piece);
      }
    }
  }

  std::optional<Outcome> run() {
    try {
      std::vector<std::size_t> open;
      for (std::size_t s = 0; s < lists_.size(); ++s) open.push_back(s);
      std::size_t stuck = 0;
      while (!open.empty()) {
        const std::size_t pick = random_() % open.size();
        const std::size_t s = open[pick];
        if (stages_[s].next == lists_[s].size()) {
          open.erase(open.begin() + static_cast<std::ptrdiff_t>(pick));
        } else if (step(s, lists_[s][stages_[s].next])) {
          ++stages_[s].next;
          stuck = 0;
        } else if (++stuck > 100 * open.size() && !anybody_can_go(open)) {
          return std::nullopt;
        }
      }
    } catch (const std::out_of_range&) {
      return std::nullopt;
    } catch (const Impossible&) {
      return std::nullopt;
    }
    return finish();
  }

 private:
  struct Impossible {};
  struct Message {
    std::int64_t batch;
    std::int64_t micro_batch;
    std::int64_t version;
    std::uint64_t value;
  };
  struct Flight {
    std::uint64_t input = 0;
    std::uint64_t output = 0;
    std::uint64_t weights = 0;
    std::optional<std::uint64_t> weight_gradient;
  };
  struct Piece {
    int number = 0;
    std::int64_t newest = 0;
    std::vector<std::uint64_t> slots;
    std::vector<std::uint64_t> gradients;
    std::vector<std::uint64_t> losses;
    std::map<std::pair<std::int64_t, std::int64_t>, Flight> in_flight;
  };
  struct Stage {
    std::vector<Piece> pieces;
    std::size_t next = 0;
    std::optional<std::uint64_t> in;
    std::optional<std::uint64_t> out;
    std::uint64_t total = 0;
  };
  struct Round {
    std::int64_t batch = -1;
    std::map<std::size_t, std::uint64_t> shares;
    std::set<std::size_t> collected;
  };

  static std::uint64_t hash(std::initializer_list<std::uint64_t> values) {
    std::uint64_t state = 0x243f6a8885a308d3ULL;
    for (const auto value : values) {
      state = (state ^ value) * 0x9e3779b97f4a7c15ULL;
      state ^= state >> 29;
      state *= 0xbf58476d1ce4e5b9ULL;
      state ^= state >> 32;
    }
    return state;
  }
  static void demand(bool condition) {
    if (!condition) throw Impossible{};
  }
  static std::uint64_t bits(std::int64_t value) { return static_cast<std::uint64_t>(value); }

  static std::uint64_t& at(std::vector<std::uint64_t>& ring, std::int64_t number) {
    demand(number >= 0);
    return ring[static_cast<std::size_t>(number) % ring.size()];
  }

  /// Channel towards the end of the model or back, of training or evaluation, behind this piece.
  struct Line {
    int kind;  // 0 activations, 1 gradients, 2 evaluations
    int boundary;
    auto operator<=>(const Line&) const = default;
  };
  Line line(const Piece& piece, schedule::ActionKind kind) const {
    using enum schedule::ActionKind;
    const bool backwards = kind == receive_gradient || kind == send_gradient;
    const bool evaluation = kind == receive_evaluation || kind == send_evaluation;
    const bool behind =
        kind == send_activation || kind == receive_gradient || kind == send_evaluation;
    const int boundary = behind ? piece.number : piece.number - 1;
    demand(boundary >= 0 && boundary < shape_.pieces() - 1);
    return {backwards ? 1 : evaluation ? 2 : 0, boundary};
  }
  std::size_t capacity(const Line& of) const {
    return static_cast<std::size_t>(of.kind == 2 ? schedule::evaluation_edge_capacity(shape_)
                                                 : schedule::edge_capacity);
  }

  bool anybody_can_go(const std::vector<std::size_t>& open) {
    for (const auto s : open) {
      if (stages_[s].next == lists_[s].size()) return true;
      if (step(s, lists_[s][stages_[s].next])) {
        ++stages_[s].next;
        return true;
      }
    }
    return false;
  }

  /// False if the action has to wait.
  bool step(std::size_t s, const schedule::Action& action) {
    using enum schedule::ActionKind;
    Stage& stage = stages_[s];
    if (action.kind == contribute) return do_contribute(s, action);
    if (action.kind == await_reduction) return do_await(s, action);
    if (action.kind == update) return do_update(s, action);
    Piece& piece = stage.pieces.at(static_cast<std::size_t>(action.chunk));
    switch (action.kind) {
      case receive_activation:
      case receive_gradient:
      case receive_evaluation: {
        auto& channel = channels_[line(piece, action.kind)];
        if (channel.empty()) return false;
        const Message message = channel.front();
        channel.pop_front();
        demand(message.batch == action.batch && message.micro_batch == action.micro_batch);
        demand(!schedule_.updates_together || message.version == action.version);
        stage.in = message.value;
        return true;
      }
      case send_activation:
      case send_gradient:
      case send_evaluation: {
        const Line to = line(piece, action.kind);
        auto& channel = channels_[to];
        if (channel.size() >= capacity(to)) return false;
        demand(stage.out.has_value());
        channel.push_back({action.batch, action.micro_batch, action.version, *stage.out});
        stage.out.reset();
        return true;
      }
      case forward:
        do_forward(stage, piece, action);
        return true;
      case evaluate:
        do_evaluate(stage, piece, action);
        return true;
      case backward:
        do_backward_input(stage, piece, action);
        do_backward_weight(piece, action);
        return true;
      case backward_input:
        do_backward_input(stage, piece, action);
        return true;
      default:
        do_backward_weight(piece, action);
        return true;
    }
  }

  std::uint64_t take_input(Stage& stage, const Piece& piece, const schedule::Action& action) {
    if (piece.number == 0) return hash({2, bits(action.batch), bits(action.micro_batch)});
    demand(stage.in.has_value());
    return *std::exchange(stage.in, std::nullopt);
  }

  void do_forward(Stage& stage, Piece& piece, const schedule::Action& action) {
    Flight flight;
    flight.input = take_input(stage, piece, action);
    flight.weights = at(piece.slots, action.version);
    flight.output =
        hash({3, static_cast<std::uint64_t>(piece.number), flight.input, flight.weights});
    if (piece.number == shape_.pieces() - 1) {
      auto& losses = at(piece.losses, action.batch);
      losses = hash({4, losses, flight.output, bits(action.batch), bits(action.micro_batch)});
    } else {
      stage.out = flight.output;
    }
    demand(piece.in_flight.emplace(std::pair(action.batch, action.micro_batch), flight).second);
  }

  void do_evaluate(Stage& stage, Piece& piece, const schedule::Action& action) {
    const std::uint64_t input = take_input(stage, piece, action);
    const std::uint64_t output =
        hash({5, static_cast<std::uint64_t>(piece.number), input, at(piece.slots, action.version)});
    if (piece.number == shape_.pieces() - 1) {
      validation_losses_.push_back(output);
    } else {
      stage.out = output;
    }
  }

  void do_backward_input(Stage& stage, Piece& piece, const schedule::Action& action) {
    auto& flight = piece.in_flight.at({action.batch, action.micro_batch});
    demand(!flight.weight_gradient);
    const bool last = piece.number == shape_.pieces() - 1;
    if (!last) demand(stage.in.has_value());
    const std::uint64_t gradient = last ? hash({6, flight.output}) : *stage.in;
    if (!last) stage.in.reset();
    const std::uint64_t weights =
        schedule_.stashes_weights ? flight.weights : at(piece.slots, action.version);
    if (schedule_.stashes_weights) demand(at(piece.slots, action.version) == flight.weights);
    if (piece.number > 0) stage.out = hash({7, flight.input, weights, gradient});
    flight.weight_gradient = hash({8, flight.input, weights, gradient});
  }

  void do_backward_weight(Piece& piece, const schedule::Action& action) {
    const auto found = piece.in_flight.find({action.batch, action.micro_batch});
    demand(found != piece.in_flight.end() && found->second.weight_gradient.has_value());
    auto& gradients = at(piece.gradients, action.batch);
    gradients = hash({9, gradients, *found->second.weight_gradient});
    piece.in_flight.erase(found);
  }

  bool do_contribute(std::size_t s, const schedule::Action& action) {
    demand(action.batch >= 0);
    Round& round = rounds_[static_cast<std::size_t>(action.batch) % rounds_.size()];
    if (round.batch != action.batch) {
      demand(round.batch < 0 || round.collected.size() == lists_.size());
      round = Round{};
      round.batch = action.batch;
    }
    std::uint64_t share = 0;
    for (auto& piece : stages_[s].pieces) {
      share = hash({10, share, at(piece.gradients, action.batch), at(piece.losses, action.batch)});
    }
    demand(round.shares.emplace(s, share).second);
    return true;
  }

  bool do_await(std::size_t s, const schedule::Action& action) {
    demand(action.batch >= 0);
    Round& round = rounds_[static_cast<std::size_t>(action.batch) % rounds_.size()];
    if (round.batch != action.batch || round.shares.size() < lists_.size()) return false;
    demand(round.collected.insert(s).second);
    std::uint64_t total = 0;
    for (const auto& [stage, share] : round.shares) total = hash({11, total, stage, share});
    stages_[s].total = total;
    const int last = shape_.pieces() - 1;
    const auto reporter = schedule::place_of(schedule_.placement, shape_, last).stage;
    if (s == static_cast<std::size_t>(reporter)) losses_.push_back(total);
    return true;
  }

  bool do_update(std::size_t s, const schedule::Action& action) {
    for (auto& piece : stages_[s].pieces) {
      demand(action.version == piece.newest + 1);
      auto& gradients = at(piece.gradients, action.batch);
      const std::uint64_t total = schedule_.updates_together ? stages_[s].total : 0;
      const std::uint64_t next =
          hash({12, at(piece.slots, piece.newest), bits(action.batch), gradients, total});
      at(piece.slots, action.version) = next;
      piece.newest = action.version;
      gradients = 0;
      at(piece.losses, action.batch) = 0;
    }
    return true;
  }

  std::optional<Outcome> finish() {
    for (const auto& [line, channel] : channels_) {
      if (!channel.empty()) return std::nullopt;
    }
    Outcome outcome;
    for (auto& stage : stages_) {
      for (auto& piece : stage.pieces) {
        if (!piece.in_flight.empty()) return std::nullopt;
        outcome.weights.push_back(at(piece.slots, piece.newest));
      }
    }
    outcome.losses = losses_;
    outcome.validation_losses = validation_losses_;
    return outcome;
  }

  const schedule::Schedule& schedule_;
  const schedule::PipelineShape shape_;
  const Lists& lists_;
  std::mt19937_64 random_;
  std::vector<Stage> stages_;
  std::vector<Round> rounds_;
  std::map<Line, std::deque<Message>> channels_;
  std::vector<std::uint64_t> losses_;
  std::vector<std::uint64_t> validation_losses_;
};

inline std::optional<Outcome> symbolic_outcome(const schedule::Schedule& schedule,
                                               schedule::PipelineShape shape,
                                               const SymbolicRun::Lists& lists,
                                               std::uint64_t seed = 1) {
  return SymbolicRun(schedule, shape, lists, seed).run();
}

}  // namespace penstock::tests
