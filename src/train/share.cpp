#include "train/share.h"

#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>

#include "base/error.h"
#include "comm/batch_gate.h"
#include "config/print.h"
#include "engine/pipeline.h"
#include "ranks/codec.h"
#include "ranks/process_ranks.h"
#include "ranks/shares.h"
#include "ranks/tags.h"
#include "train/catalogue.h"
#include "train/run_data.h"
#include "train/run_identity.h"
#include "train/run_text.h"
#include "train/stop_signals.h"

namespace penstock::train {
namespace {

using Texts = std::map<std::string, std::string>;

constexpr int assignment_tag = static_cast<int>(ranks::Tag::assignment);
constexpr ranks::Ahead no_clock{0};

struct Assignment {
  std::string configuration;  // TOML
  Texts data;                 // as in checkpoint::Identity
  Recordings recordings;
  std::int64_t states = 0;  // that follow, a frame each
};

ranks::Frame encode(const Assignment& assignment) {
  ranks::ByteWriter writer;
  writer.put(assignment.configuration)
      .put(assignment.recordings.trace)
      .put(assignment.recordings.profile)
      .put(assignment.states);
  writer.put(assignment.data.size());
  for (const auto& [key, value] : assignment.data) writer.put(key).put(value);
  return {writer.take(), {}};
}

Assignment decode(const ranks::Frame& frame) {
  ranks::ByteReader reader(frame.head);
  Assignment assignment;
  assignment.configuration = reader.get_text();
  assignment.recordings.trace = reader.get<bool>();
  assignment.recordings.profile = reader.get<bool>();
  assignment.states = reader.get<std::int64_t>();
  for (auto left = reader.get<std::size_t>(); left > 0; --left) {
    const auto key = reader.get_text();
    assignment.data[key] = reader.get_text();
  }
  return assignment;
}

engine::StageState receive_state(ranks::Group& group) {
  const auto event = ranks::decode_event(group.receive(0, assignment_tag), no_clock);
  return std::get<engine::CaptureEvent>(event).state;
}

void require_same_data(int rank, const Texts& here, const Texts& on_rank_0) {
  if (here == on_rank_0) return;
  throw user_error("ranks",
                   "rank {} finds other data than rank 0; give every host the same files and cache",
                   rank);
}

}  // namespace

void assign_shares(ranks::Group& group, const config::Config& config,
                   const checkpoint::Identity& identity, const Recordings& recordings,
                   const std::vector<engine::StageState>& states) {
  if (config.train.device != config::DeviceKind::cpu) {
    throw user_error(
        "ranks",
        "train.device = \"cuda\" has all stages in one process, but there are {} ranks; "
        "start one process or set train.device = \"cpu\"",
        group.size());
  }
  const int stages = static_cast<int>(config.pipeline.stages);
  for (int peer = 1; peer < group.size(); ++peer) {
    const auto share = ranks::stages_of_rank(peer, group.size(), stages);
    const Assignment assignment{config::to_toml(config), identity.data, recordings,
                                states.empty() ? 0 : share.count};
    group.send(peer, assignment_tag, encode(assignment));
    for (const auto& state : states) {
      if (!share.has(state.stage)) continue;
      group.send(peer, assignment_tag,
                 ranks::encode(engine::Event(engine::CaptureEvent{state}), no_clock));
    }
  }
}

void train_share(ranks::Group& group) {
  const Assignment assignment = decode(group.receive(0, assignment_tag));
  std::vector<engine::StageState> states;
  for (auto left = assignment.states; left > 0; --left) states.push_back(receive_state(group));
  const auto config =
      config::parse(assignment.configuration, "configuration of rank 0", {}, catalogue());
  const auto schedule = engine::proved_schedule(config);
  ranks::ProcessRanks others(group, static_cast<int>(config.pipeline.stages));
  const RunData data(config, [](std::string_view, double) {});
  require_same_data(group.rank(), identity_of(config, data.prepared()).data, assignment.data);
  const std::int64_t cut = states.empty() ? 0 : states.front().cut;
  comm::BatchGate gate(engine::gate_setup(config, schedule, cut));
  const StopSignals signals([&] { others.request_stop(); });
  engine::Pipeline pipeline({.config = &config,
                             .ranks = &others,
                             .schedule = schedule,
                             .make_source = data.source_factory(),
                             .validation_micro_batches = data.validation_micro_batches(),
                             .report = [](const engine::Event&) {},
                             .trace = assignment.recordings.trace,
                             .profile = assignment.recordings.profile,
                             .restore = std::move(states),
                             .warn = warn,
                             .on_failure = [&] { others.stop_waiting(); }});
  pipeline.run(gate);
}

}  // namespace penstock::train
