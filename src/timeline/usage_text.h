#pragma once
// Usage for people and for programs: the same names, letters and keys in every command.

#include <array>
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "timeline/usage.h"

namespace penstock::timeline {

struct Cause {
  std::string_view name;
  std::string_view head;  // of a column of 7
  char letter;            // in a bar
  int colour;             // of a terminal's 256
  double Usage::*seconds;
};

/// All of a Usage, in the order of bars and tables; the bubble's causes come last.
inline constexpr std::array<Cause, 8> causes{{
    {"work", "work", '#', 28, &Usage::work},
    {"evaluation", "eval", 'e', 97, &Usage::evaluation},
    {"activation", "activ.", 'a', 67, &Usage::wait_activation},
    {"gradient", "grad.", 'g', 137, &Usage::wait_gradient},
    {"update", "update", 'u', 161, &Usage::wait_update},
    {"transfer", "transf.", 't', 178, &Usage::transfer},
    {"blocked", "blocked", 'b', 167, &Usage::blocked},
    {"idle", "idle", '.', 244, &Usage::idle},
}};
inline constexpr std::span<const Cause> bubble_causes = std::span(causes).subspan(2);

/// `width` letters in the proportions of `usage`: each border between causes is rounded, so that
/// the letters always fill the bar. With escape codes for 256 colours, or plain. Blank where no
/// time has passed.
std::string bar(const Usage& usage, std::size_t width, bool colour);

/// What the letters of a bar mean, in one line without its end.
std::string bar_legend();

/// {"bubble_fraction": ..., "work": s, "evaluation": s, "causes": {"activation": s, ...}}; s are
/// seconds. What else a command tells of a stage comes behind that.
nlohmann::ordered_json stage_json(const Usage& usage, double bubble_fraction);

/// Neighbouring stages that share a row of a table, both included.
struct StageGroup {
  int first = 0;
  int last = 0;

  /// "3", or "4-7".
  std::string name() const;
};
/// Each stage alone, or beyond 32 of them groups of equal size (but for the last), so that there
/// are at most 32.
std::vector<StageGroup> stage_groups(int stages);

}  // namespace penstock::timeline
