#pragma once
// The other processes of a run, as the engine sees them.

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "engine/ranks.h"
#include "ranks/edge_pump.h"
#include "ranks/group.h"
#include "ranks/outbox.h"
#include "ranks/tags.h"

namespace penstock::ranks {

/// Threads between the engine and the group: two pumps for each kind of message and edge that
/// leaves this rank, one for decisions, one for reports (on rank 0: one for each other rank). They
/// wait nearly all the time. All network code is on them and on the reduction's own thread.
class ProcessRanks final : public engine::Ranks {
 public:
  /// The group must outlive the object. Errors: UserError where there are more ranks than stages.
  ProcessRanks(Group& group, int stages);
  ~ProcessRanks() override;

  int rank() const override { return group_.rank(); }
  Share stages_here() const override { return here_; }
  Share stages_on_host() const override { return on_host_; }
  comm::Reduction::Exchange exchange(std::size_t tied_parameter) override;
  engine::EventSink sink(engine::EventSink local) override;
  Time begin(Run run) override;
  void give_weights(int piece, std::vector<engine::NamedTensor> weights) override;
  void end(std::exception_ptr failure) override;
  std::vector<engine::NamedTensor> weights_of(int piece) const override;

  /// Lets go stages that wait for rank 0: the run has failed here. Any thread.
  void stop_waiting();

  /// Asks rank 0 to end the run soon. Any thread, on ranks other than 0.
  void request_stop();

 private:
  enum class ReportKind : std::uint8_t { event, weights, stop_request, last };
  struct Report {
    ReportKind kind = ReportKind::last;
    engine::Event event;
    Frame frame;
  };

  Time agree_on_start();
  void start_edges();
  void start_edge(int piece, EdgeKind kind, Edge& edge, int sender, int receiver);
  template <class Function>
  void start_thread(Function&& function);
  void send_decisions();
  void follow_decisions();
  void send_reports();
  void report(engine::Event event);
  void wait_until_sent(int stage);
  void note_sent(int stage);
  void take_reports(int from);
  void finish();
  void stop_threads();

  Group& group_;
  const int stages_;
  const Share here_;
  const Share on_host_;
  Run run_;
  engine::EventSink local_sink_;
  Outbox<comm::BatchGate::Decision> decisions_;
  Outbox<Report> reports_;
  std::set<int> states_to_send_;  // stages whose last captured state waits in reports_
  bool ended_ = false;            // nobody waits any more
  std::condition_variable states_changed_;
  std::vector<Edge*> outgoing_;
  std::map<int, std::vector<engine::NamedTensor>> remote_weights_;  // by piece
  mutable std::mutex mutex_;                                        // of what comes and goes above
  std::vector<std::jthread> threads_;
};

}  // namespace penstock::ranks
