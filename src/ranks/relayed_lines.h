#pragma once
// What several ranks write to their standard error, as one text.

#include <chrono>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::ranks {

/// Rank 0's lines come out at once. Those of other ranks wait a moment, since all ranks may say the
/// same, and are left out if that came out within the last seconds. Used by one thread.
class RelayedLines {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds delay{1000};
  static constexpr std::chrono::seconds memory{10};

  explicit RelayedLines(int ranks) : outputs_(static_cast<std::size_t>(ranks)) {}

  /// A piece of a rank's output, which may end within a line.
  void take(int rank, std::string_view text, Time now);
  /// The last line counts as ended.
  void end(int rank, Time now);
  /// A line that comes out once, at once, whoever writes it.
  void announce(const std::string& line, Time now);

  /// The lines that are due.
  std::vector<std::string> due(Time now);
  /// All that wait.
  std::vector<std::string> rest() { return due(Time::max()); }

  /// The last line that the rank wrote, empty where it wrote none.
  const std::string& last_line(int rank) const;

 private:
  struct Waiting {
    int rank = 0;
    std::string line;
    Time at;  // when it is due
  };
  struct Output {
    std::string begun;  // line
    std::string last;
  };

  void take_line(int rank, std::string line, Time now);
  /// Notes that the line comes out; false: it has just done so.
  bool show(const std::string& line, Time now);

  std::vector<Output> outputs_;
  std::deque<Waiting> waiting_;        // in the order of `at`
  std::map<std::string, Time> shown_;  // lately
  std::set<std::string> announced_;
  std::vector<std::string> due_;
};

}  // namespace penstock::ranks
