#pragma once
// What a run tells about itself.

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::observe {

constexpr double undefined = std::numeric_limits<double>::quiet_NaN();

/// Seconds in which a stage waited, by what for.
struct Waits {
  double activation = 0;  ///< From the piece before.
  double gradient = 0;    ///< From the next piece.
  double update = 0;      ///< For the reduction over all stages.
  double transfer = 0;    ///< Of messages that were made but not yet here.
  double blocked = 0;     ///< For room in a full channel.
  double core = 0;        ///< Of the machine, where stages share them.
};

struct WaitCause {
  std::string_view name;  ///< Key of JSON objects.
  std::string_view head;  ///< Of a table's column.
  double Waits::*seconds;
};
/// All of Waits, in the order of objects and tables.
inline constexpr std::array<WaitCause, 6> wait_causes{{
    {"activation", "activ.", &Waits::activation},
    {"gradient", "grad.", &Waits::gradient},
    {"update", "update", &Waits::update},
    {"transfer", "transf.", &Waits::transfer},
    {"blocked", "blocked", &Waits::blocked},
    {"core", "core", &Waits::core},
}};

/// One stage's part in an update. Seconds are those since its previous record.
struct StageRecord {
  double gradient_norm = 0;  ///< L2 norm over the stage's parameters before clipping.
  double work = 0;           ///< Seconds of training work.
  /// Updates between the weights that the batch was computed with and the newest ones, as counted.
  std::int64_t least_delay = 0;
  std::int64_t most_delay = 0;
  Waits waits{};
};

/// A group of parameters in an update, over all stages. Undefined ratios are not finite.
struct GroupRecord {
  /// |u_t - u_{t-1}| / |u_t| of the optimizer's updates: what one update of delay can cost.
  double error_ratio = undefined;
  double update_ratio = undefined;  ///< |W_{t+1} - W_t| / |W_t|
};

/// One optimizer update.
struct UpdateRecord {
  std::int64_t step = 0;     ///< Updates done, this one included (from 1).
  double loss = 0;           ///< Mean over the batch's tokens, nats per token; NaN where skipped.
  double gradient_norm = 0;  ///< Global L2 norm before clipping.
  double clip_factor = 1;    ///< What clipping scaled the gradient by, in (0, 1].
  double lr = 0;             ///< Learning rate of [optimizer] in this update.
  std::int64_t tokens = 0;   ///< Trained since the start.
  double seconds = 0;        ///< Since the start of the run, evaluations included.
  /// Each stage's share of computing in the time of training since the previous record, 0..1; NaN
  /// where it is not known.
  std::vector<double> busy{};
  bool skipped = false;  ///< The weights stayed: the loss or a gradient was not finite.
  std::vector<std::optional<StageRecord>> stages{};  ///< None for stages that have not told.
  std::map<std::string, GroupRecord> groups{};       ///< By name; empty where skipped.
};

/// One evaluation on the validation set.
struct EvalRecord {
  std::int64_t step = 0;       ///< Updates done before it.
  double val_loss = 0;         ///< Mean over the tokens, nats per token.
  std::int64_t sequences = 0;  ///< Evaluated.
  double seconds = 0;          ///< Since the start of the run, at the end of the evaluation.
  double duration = 0;         ///< Seconds the evaluation itself took.
};

}  // namespace penstock::observe
