#include "timeline/usage_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace penstock::timeline {

std::string bar(const Usage& usage, std::size_t width, bool colour) {
  const double all = usage.seconds();
  if (!(all > 0)) return std::string(width, ' ');
  std::string text;
  double until = 0;
  std::size_t drawn = 0;
  for (const Cause& cause : causes) {
    until += usage.*cause.seconds;
    const double share = std::min(until / all, 1.0);
    const auto border = static_cast<std::size_t>(std::lround(static_cast<double>(width) * share));
    if (border <= drawn) continue;
    const std::string part(border - drawn, cause.letter);
    text += colour ? fmt::format("\x1b[38;5;231;48;5;{}m{}\x1b[0m", cause.colour, part) : part;
    drawn = border;
  }
  return text;
}

std::string bar_legend() {
  std::string text;
  for (const Cause& cause : causes) {
    const bool first_wait = cause.seconds == &Usage::wait_activation;
    if (!text.empty()) text += first_wait ? "; waits: " : ", ";
    text += fmt::format("{} {}", cause.letter, cause.name);
  }
  return text;
}

nlohmann::ordered_json stage_json(const Usage& usage, double bubble_fraction) {
  nlohmann::ordered_json object = {{"bubble_fraction", bubble_fraction},
                                   {"work", usage.work},
                                   {"evaluation", usage.evaluation},
                                   {"causes", nlohmann::ordered_json::object()}};
  for (const Cause& cause : bubble_causes) {
    object["causes"][std::string(cause.name)] = usage.*cause.seconds;
  }
  return object;
}

std::string StageGroup::name() const {
  return first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
}

std::vector<StageGroup> stage_groups(int stages) {
  constexpr int most_rows = 32;
  const int size = (stages + most_rows - 1) / most_rows;
  std::vector<StageGroup> groups;
  for (int first = 0; first < stages; first += size) {
    groups.push_back({first, std::min(first + size, stages) - 1});
  }
  return groups;
}

}  // namespace penstock::timeline
