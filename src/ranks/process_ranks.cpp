#include "ranks/process_ranks.h"

#include <utility>

#include "comm/closed.h"
#include "ranks/codec.h"
#include "ranks/exchange.h"
#include "ranks/shares.h"

namespace penstock::ranks {
namespace {

constexpr int number(Tag tag) { return static_cast<int>(tag); }

bool is_echo(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const comm::Closed&) {
    return true;
  } catch (...) {
    return false;
  }
}

Frame encode_weights(int piece, const std::vector<engine::NamedTensor>& weights) {
  ByteWriter writer;
  writer.put(piece);
  Frame frame;
  for (const auto& [name, tensor] : weights) {
    writer.put(name);
    frame.tensors.push_back(tensor.to(at::kCPU));
  }
  frame.head = writer.take();
  return frame;
}

std::pair<int, std::vector<engine::NamedTensor>> decode_weights(const Frame& frame) {
  ByteReader reader(frame.head);
  const int piece = reader.get<int>();
  std::vector<engine::NamedTensor> weights;
  for (const auto& tensor : frame.tensors) weights.push_back({reader.get_text(), tensor});
  return {piece, std::move(weights)};
}

}  // namespace

ProcessRanks::ProcessRanks(Group& group, int stages)
    : group_(group),
      stages_(stages),
      here_(stages_of_rank(group.rank(), group.size(), stages)),
      on_host_(stages_of_host(group.environment(), stages)) {}

ProcessRanks::~ProcessRanks() {
  group_.on_failure({});
  stop_threads();
}

comm::Reduction::Exchange ProcessRanks::exchange(std::size_t tied_parameter) {
  return make_exchange(group_, tied_parameter);
}

engine::EventSink ProcessRanks::sink(engine::EventSink local) {
  if (rank() == 0) {
    local_sink_ = local;
    return local;
  }
  return [this](engine::Event event) { report(std::move(event)); };
}

/// Captured states are large: a stage makes no further one before rank 0 has the last.
void ProcessRanks::report(engine::Event event) {
  if (const auto* capture = std::get_if<engine::CaptureEvent>(&event)) {
    wait_until_sent(capture->state.stage);
  }
  reports_.push({ReportKind::event, std::move(event), {}});
}

void ProcessRanks::wait_until_sent(int stage) {
  std::unique_lock lock(mutex_);
  states_changed_.wait(lock, [&] { return ended_ || !states_to_send_.contains(stage); });
  states_to_send_.insert(stage);
}

void ProcessRanks::stop_waiting() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  states_changed_.notify_all();
}

void ProcessRanks::note_sent(int stage) {
  const std::lock_guard lock(mutex_);
  states_to_send_.erase(stage);
  states_changed_.notify_all();
}

void ProcessRanks::request_stop() { reports_.push({ReportKind::stop_request, {}, {}}); }

void ProcessRanks::give_weights(int piece, std::vector<engine::NamedTensor> weights) {
  if (rank() == 0) return;
  reports_.push({ReportKind::weights, {}, encode_weights(piece, weights)});
}

std::vector<engine::NamedTensor> ProcessRanks::weights_of(int piece) const {
  const std::lock_guard lock(mutex_);
  return remote_weights_.at(piece);
}

/// A thread that cannot go on ends the run; the echo of such an end only ends the thread.
template <class Function>
void ProcessRanks::start_thread(Function&& function) {
  threads_.emplace_back([this, function = std::forward<Function>(function)] {
    try {
      function();
    } catch (const comm::Closed&) {
    } catch (...) {
      group_.fail(failure_of(rank(), std::current_exception()));
    }
  });
}

engine::Ranks::Time ProcessRanks::begin(Run run) {
  run_ = std::move(run);
  group_.on_failure([this] {
    stop_waiting();
    run_.close();
  });
  try {
    const Time start = agree_on_start();
    start_edges();
    if (rank() == 0) {
      run_.gate->on_decision([this](const auto& decision) { decisions_.push(decision); });
      start_thread([this] { send_decisions(); });
      for (int peer = 1; peer < group_.size(); ++peer) {
        start_thread([this, peer] { take_reports(peer); });
      }
    } else {
      start_thread([this] { follow_decisions(); });
      start_thread([this] { send_reports(); });
    }
    return start;
  } catch (...) {
    end(std::current_exception());
    throw;
  }
}

engine::Ranks::Time ProcessRanks::agree_on_start() {
  const Ahead ahead = group_.ahead_of_rank_0();
  if (rank() > 0) {
    // Rank 0 does not answer before all have asked.
    group_.send(0, number(Tag::start), {});
    const Frame frame = group_.receive(0, number(Tag::start));
    return Time(Ahead(ByteReader(frame.head).get<Ahead::rep>()) + ahead);
  }
  for (int peer = 1; peer < group_.size(); ++peer) group_.receive(peer, number(Tag::start));
  const Time start = std::chrono::steady_clock::now();
  const Frame frame{ByteWriter().put(Ahead(start.time_since_epoch()).count()).take(), {}};
  for (int peer = 1; peer < group_.size(); ++peer) group_.send(peer, number(Tag::start), frame);
  return start;
}

void ProcessRanks::start_edges() {
  const auto place = [&](int piece) {
    return schedule::place_of(run_.placement, run_.shape, piece);
  };
  for (int piece = 0; piece + 1 < run_.shape.pieces(); ++piece) {
    const auto [stage, chunk] = place(piece);
    const auto link = run_.edges->links_of(stage).at(static_cast<std::size_t>(chunk));
    const int before = rank_of_stage(stage, group_.size(), stages_);
    const int after = rank_of_stage(place(piece + 1).stage, group_.size(), stages_);
    start_edge(piece, EdgeKind::activations, *link.activations_out, before, after);
    start_edge(piece, EdgeKind::evaluations, *link.evaluations_out, before, after);
    start_edge(piece, EdgeKind::gradients, *link.gradients_in, after, before);
  }
}

void ProcessRanks::start_edge(int piece, EdgeKind kind, Edge& edge, int sender, int receiver) {
  if (sender == receiver) return;
  const int tag = edge_tag(piece, kind);
  if (sender == rank()) {
    outgoing_.push_back(&edge);
    start_thread([this, receiver, tag, &edge] { push_messages(group_, receiver, tag, edge); });
  } else if (receiver == rank()) {
    start_thread([this, sender, tag, &edge] { pull_messages(group_, sender, tag, edge); });
  }
}

void ProcessRanks::send_decisions() {
  const auto send = [this](const Frame& frame) {
    for (int peer = 1; peer < group_.size(); ++peer) group_.send(peer, number(Tag::gate), frame);
  };
  while (const auto decision = decisions_.pop()) send(encode(*decision));
  send({});
}

void ProcessRanks::follow_decisions() {
  for (;;) {
    const Frame frame = group_.receive(0, number(Tag::gate));
    if (frame.head.empty()) return;
    run_.gate->follow(decode_decision(frame));
  }
}

void ProcessRanks::send_reports() {
  while (auto report = reports_.pop()) {
    if (report->kind == ReportKind::event) {
      report->frame = encode(report->event, group_.ahead_of_rank_0());
    }
    report->frame.head.push_back(static_cast<std::byte>(report->kind));
    group_.send(0, number(Tag::events), report->frame);
    if (const auto* capture = std::get_if<engine::CaptureEvent>(&report->event)) {
      note_sent(capture->state.stage);
    }
    if (report->kind == ReportKind::last) return;
  }
}

void ProcessRanks::take_reports(int from) {
  for (;;) {
    Frame frame = group_.receive(from, number(Tag::events));
    const auto kind = static_cast<ReportKind>(frame.head.back());
    frame.head.pop_back();
    switch (kind) {
      case ReportKind::event:
        local_sink_(decode_event(frame, group_.ahead_of_rank_0()));
        break;
      case ReportKind::weights: {
        auto weights = decode_weights(frame);
        const std::lock_guard lock(mutex_);
        remote_weights_.insert(std::move(weights));
        break;
      }
      case ReportKind::stop_request:
        run_.gate->request_stop();
        break;
      case ReportKind::last:
        return;
    }
  }
}

void ProcessRanks::stop_threads() {
  decisions_.end();
  reports_.end();
  threads_.clear();
}

/// Every stream has ended here, so what is still to be sent is behind the last message of its kind.
void ProcessRanks::finish() {
  for (Edge* edge : outgoing_) edge->send(end_of_edge());
  decisions_.end();
  reports_.push({ReportKind::last, {}, {}});
  threads_.clear();
  // A rank that left earlier would take connections along that others still read from.
  if (rank() > 0) {
    group_.receive(0, number(Tag::farewell));
    return;
  }
  for (int peer = 1; peer < group_.size(); ++peer) group_.send(peer, number(Tag::farewell), {});
}

void ProcessRanks::end(std::exception_ptr failure) {
  if (!failure) {
    try {
      if (!group_.failure()) finish();
    } catch (const comm::Closed&) {
    }
  } else if (!is_echo(failure)) {
    group_.fail(failure_of(rank(), failure));
  }
  const auto agreed = group_.failure();
  group_.on_failure({});
  stop_threads();
  if (!agreed && !failure) return;
  if (failure && (!agreed || (agreed->rank == rank() && !is_echo(failure)))) {
    std::rethrow_exception(failure);
  }
  throw_failure(*agreed);
}

}  // namespace penstock::ranks
