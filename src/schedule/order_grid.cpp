#include "schedule/order_grid.h"

#include <fmt/format.h>

#include <algorithm>

namespace penstock::schedule {
namespace {

constexpr int most_rows = 24;

char letter(ActionKind kind) {
  switch (kind) {
    case ActionKind::forward:
    case ActionKind::receive_activation:
    case ActionKind::send_activation:
      return 'F';
    case ActionKind::backward:
    case ActionKind::receive_gradient:
    case ActionKind::send_gradient:
      return 'B';
    case ActionKind::backward_input:
      return 'X';
    case ActionKind::backward_weight:
      return 'W';
    case ActionKind::contribute:
      return 'C';
    case ActionKind::await_reduction:
      return 'A';
    case ActionKind::update:
      return 'U';
    case ActionKind::capture:
      return 'S';
    case ActionKind::evaluate:
    case ActionKind::receive_evaluation:
    case ActionKind::send_evaluation:
      return 'E';
  }
  return '?';
}

const char* direction(ActionKind kind) {
  switch (kind) {
    case ActionKind::receive_activation:
    case ActionKind::receive_gradient:
    case ActionKind::receive_evaluation:
      return "r";
    case ActionKind::send_activation:
    case ActionKind::send_gradient:
    case ActionKind::send_evaluation:
      return "s";
    default:
      return "";
  }
}

std::int64_t number(const Action& action) {
  switch (action.kind) {
    case ActionKind::contribute:
    case ActionKind::await_reduction:
      return action.batch;
    case ActionKind::update:
    case ActionKind::capture:
      return action.version;
    default:
      return action.micro_batch;
  }
}

struct Window {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

/// `size` slots with the bad one near their middle, not before slot 0.
Window around(std::int64_t bad, std::int64_t size) {
  const std::int64_t first = std::max<std::int64_t>(0, bad - size / 2);
  return {first, first + size};
}

}  // namespace

std::string cell_text(const Action& action) {
  const std::string chunk = action.chunk == 0 ? "" : fmt::format("'{}", action.chunk);
  return fmt::format("{}{}{}{}", direction(action.kind), letter(action.kind), number(action),
                     chunk);
}

std::string order_grid(const std::vector<std::vector<OrderCell>>& stages, int bad_stage,
                       std::int64_t bad_slot, int columns) {
  const int count = static_cast<int>(stages.size());
  const Window rows = count <= most_rows ? Window{0, count} : around(bad_stage, most_rows);
  const int last_row = static_cast<int>(std::min<std::int64_t>(rows.end, count));
  const std::size_t label = fmt::format("stage {}:", last_row - 1).size();

  const auto widest = [&](Window slots) {
    std::size_t width = 2;
    for (int s = static_cast<int>(rows.first); s < last_row; ++s) {
      for (const auto& cell : stages[static_cast<std::size_t>(s)]) {
        if (cell.slot < slots.first || cell.slot >= slots.end) continue;
        const bool bad = s == bad_stage && cell.slot == bad_slot;
        width = std::max(width, cell.text.size() + (bad ? 2 : 0));
      }
    }
    return width + 1;
  };
  const auto room = static_cast<std::size_t>(columns) - label;
  Window slots = around(bad_slot, static_cast<std::int64_t>(room / 3));
  slots = around(bad_slot, static_cast<std::int64_t>(room / widest(slots)));
  const std::size_t width = widest(slots);

  std::string text;
  for (int s = static_cast<int>(rows.first); s < last_row; ++s) {
    std::string row = fmt::format("{:<{}}", fmt::format("stage {}:", s), label);
    for (const auto& cell : stages[static_cast<std::size_t>(s)]) {
      if (cell.slot < slots.first || cell.slot >= slots.end) continue;
      const auto begin = label + static_cast<std::size_t>(cell.slot - slots.first) * width + 1;
      row.resize(std::max(row.size(), begin), ' ');
      const bool bad = s == bad_stage && cell.slot == bad_slot;
      row += bad ? '>' + cell.text + '<' : cell.text;
    }
    text += row + '\n';
  }
  return text;
}

}  // namespace penstock::schedule
