// Random changes to valid schedules: caught, or without effect on what is trained.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "schedule/lowering.h"
#include "schedule/symbolic.h"
#include "schedule/validate.h"
#include "schedule/validated.h"
#include "support/unrolled.h"

namespace penstock::schedule {
namespace {

using tests::lower;
using tests::symbolic_outcome;
using enum ActionKind;

struct Subject {
  const Schedule* schedule;
  PipelineShape shape;
};

std::vector<Subject> subjects() {
  std::vector<Subject> all;
  for (const auto& schedule : registry()) {
    for (const auto& [d, m] : {std::pair{1, 2}, {2, 2}, {2, 3}, {3, 1}, {3, 3}, {4, 8}}) {
      const PipelineShape shape{d, m, schedule.default_chunks};
      if (schedule.complaint(shape).empty()) all.push_back({&schedule, shape});
    }
  }
  return all;
}

ActionStream replay(std::vector<Action> actions) {
  for (const auto& action : actions) co_yield action;
}

/// All stages' lists without transfers, and those with them.
Lists without_transfers(Lists lists) {
  for (auto& actions : lists) {
    std::erase_if(actions, [](const Action& a) { return is_receive(a.kind) || is_send(a.kind); });
  }
  return lists;
}

Lists with_all_transfers(const Lists& lists, PipelineShape shape, Placement placement) {
  Lists result;
  for (std::size_t s = 0; s < lists.size(); ++s) {
    result.push_back(
        tests::drain(with_transfers(replay(lists[s]), static_cast<int>(s), shape, placement)));
  }
  return result;
}

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  /// Changes one thing in the transfers or the work; or the work, with its transfers.
  std::string mutate(Lists& lists, PipelineShape shape, Placement placement) {
    if (below(2) == 0) return mutate(lists);
    auto work = without_transfers(lists);
    const std::string what = below(8) == 0 ? change_version_everywhere(work) : mutate(work);
    lists = with_all_transfers(work, shape, placement);
    return what + ", with transfers";
  }

 private:
  /// All actions of a micro-batch on some stages read other weights.
  std::string change_version_everywhere(Lists& lists) {
    const auto& actions = lists[below(lists.size())];
    const Action chosen = actions[below(actions.size())];
    const std::int64_t sign = below(2) == 0 ? 1 : -1;
    const std::size_t first = below(lists.size());
    for (std::size_t s = first; s < lists.size(); ++s) {
      for (auto& action : lists[s]) {
        const bool same =
            action.batch == chosen.batch && (action.micro_batch == chosen.micro_batch || sign > 0);
        if (same && action.kind >= forward && action.kind <= backward_weight) {
          action.version += sign;
        }
      }
    }
    return fmt::format("versions of {} from stage {} on", describe(chosen), first);
  }

  /// Changes one thing; says what.
  std::string mutate(Lists& lists) {
    auto& actions = lists[below(lists.size())];
    const std::size_t i = below(actions.size());
    const auto at = actions.begin() + static_cast<std::ptrdiff_t>(i);
    const std::int64_t sign = below(2) == 0 ? 1 : -1;
    const std::string what = describe(*at);
    switch (below(10)) {
      case 0: {
        const std::size_t j = std::min(i + 1 + below(4), actions.size() - 1);
        const std::string other = describe(actions[j]);
        std::swap(*at, actions[j]);
        return "swap " + what + " with " + other;
      }
      case 1:
        actions.erase(at);
        return "drop " + what;
      case 2: {
        const Action copy = *at;
        const std::size_t j = std::min(i + below(6), actions.size());
        actions.insert(actions.begin() + static_cast<std::ptrdiff_t>(j), copy);
        return "duplicate " + what;
      }
      case 3:
        at->version += sign;
        return "version of " + what;
      case 4:
        at->micro_batch += sign;
        return "micro-batch of " + what;
      case 5:
        at->chunk += static_cast<std::int32_t>(sign);
        return "chunk of " + what;
      case 6:
        at->batch += sign;
        return "batch of " + what;
      case 7:
        at->kind = static_cast<ActionKind>(below(15));
        return "kind of " + what + " to " + describe(*at);
      default: {
        const Action moved = *at;
        actions.erase(at);
        const std::size_t reach = 1 + below(12);
        const std::size_t j =
            sign > 0 ? std::min(i + reach, actions.size()) : i - std::min(i, reach);
        actions.insert(actions.begin() + static_cast<std::ptrdiff_t>(j), moved);
        return fmt::format("move {} from {} to {}", what, i, j);
      }
    }
  }

  std::size_t below(std::size_t end) { return random_() % end; }
  std::mt19937_64 random_;
};

TEST(Validate, EveryMutationIsCaughtOrChangesNothing) {
  constexpr int mutations = 400;  // per subject
  int caught = 0;
  int equivalent = 0;
  std::uint64_t seed = 0;
  for (const auto& [schedule, shape] : subjects()) {
    constexpr std::int64_t batches = 4;
    const EvaluationPlan plan{.every = 3, .micro_batches = 2};
    const auto lists = lower(*schedule, shape, batches, plan);
    const auto expected = symbolic_outcome(*schedule, shape, lists);
    ASSERT_TRUE(expected) << text(*schedule, shape);
    for (int i = 0; i < mutations; ++i) {
      auto mutated = lists;
      const std::string what = Mutator(++seed).mutate(mutated, shape, schedule->placement);
      if (mutated == lists) continue;
      if (validate_run(*schedule, shape, {batches, plan}, mutated).violation) {
        ++caught;
        continue;
      }
      ++equivalent;
      for (std::uint64_t order = 1; order <= 4; ++order) {
        ASSERT_EQ(symbolic_outcome(*schedule, shape, mutated, order), expected)
            << text(*schedule, shape) << ", seed " << seed << ": " << what;
      }
    }
  }
  EXPECT_GT(caught, 10000);
  EXPECT_GT(equivalent, 10);  // as moving a contribute: the rules are not stricter than needed
}

}  // namespace
}  // namespace penstock::schedule
