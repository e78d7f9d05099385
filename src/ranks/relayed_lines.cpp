#include "ranks/relayed_lines.h"

#include <fmt/format.h>

#include <utility>

namespace penstock::ranks {

void RelayedLines::take(int rank, std::string_view text, Time now) {
  std::string& begun = outputs_.at(static_cast<std::size_t>(rank)).begun;
  for (const char c : text) {
    if (c == '\n') {
      take_line(rank, std::exchange(begun, {}), now);
    } else {
      begun.push_back(c);
    }
  }
}

void RelayedLines::end(int rank, Time now) {
  std::string& begun = outputs_.at(static_cast<std::size_t>(rank)).begun;
  if (!begun.empty()) take_line(rank, std::exchange(begun, {}), now);
}

bool RelayedLines::show(const std::string& line, Time now) {
  std::erase_if(shown_, [&](const auto& entry) { return now - entry.second > memory; });
  return shown_.insert({line, now}).second;
}

void RelayedLines::announce(const std::string& line, Time now) {
  if (announced_.insert(line).second && show(line, now)) due_.push_back(line);
}

void RelayedLines::take_line(int rank, std::string line, Time now) {
  if (!line.empty()) outputs_.at(static_cast<std::size_t>(rank)).last = line;
  if (rank > 0) {
    if (!line.empty()) waiting_.push_back({rank, std::move(line), now + delay});
    return;
  }
  if (announced_.contains(line)) return;
  due_.push_back(line);
  show(line, now);
}

std::vector<std::string> RelayedLines::due(Time now) {
  auto lines = std::exchange(due_, {});
  while (!waiting_.empty() && waiting_.front().at <= now) {
    auto [rank, line, at] = std::move(waiting_.front());
    waiting_.pop_front();
    if (!show(line, at)) continue;
    lines.push_back(fmt::format("[rank {}] {}", rank, line));
  }
  return lines;
}

const std::string& RelayedLines::last_line(int rank) const {
  return outputs_.at(static_cast<std::size_t>(rank)).last;
}

}  // namespace penstock::ranks
