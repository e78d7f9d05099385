#include "schedule/validate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "base/error.h"
#include "schedule/execution.h"
#include "schedule/repetition.h"

namespace penstock::schedule {
namespace {

using Sources = std::function<std::vector<ActionSource>()>;

/// What a stage has asked about batches; outlives its stream.
struct Questions {
  std::int64_t asked = -1;
  std::int64_t out_of_turn = -1;

  bool has_batch(std::int64_t batch, std::int64_t batches) {
    const std::int64_t last_known = std::min(asked, batches - 1);
    if (batch < 0 || batch > last_known + 1) {
      if (out_of_turn < 0) out_of_turn = batch;
    } else {
      asked = std::max(asked, batch);
    }
    return batch < batches;
  }
};

ActionSource generated(const Schedule& schedule, PipelineShape shape, int stage, Run run) {
  const auto questions = std::make_shared<Questions>();
  const HasBatch has_batch = [questions, batches = run.batches](std::int64_t batch) {
    return questions->has_batch(batch, batches);
  };
  auto stream = schedule.generate(stage, shape, has_batch);
  if (run.evaluation.micro_batches > 0) {
    stream = with_evaluation(std::move(stream), run.evaluation, shape, has_batch);
  }
  const auto lowered = std::make_shared<ActionStream>(
      with_transfers(std::move(stream), stage, shape, schedule.placement));
  return {[lowered, questions] { return lowered->next(); }, &questions->asked,
          &questions->out_of_turn};
}

ActionSource listed(const std::vector<Action>& actions) {
  return {[next = actions.begin(), end = actions.end()]() mutable -> std::optional<Action> {
    if (next == end) return std::nullopt;
    return *next++;
  }};
}

std::string message_of(const Failure& failure) {
  const std::string what = failure.action ? describe(*failure.action) : "end of its actions";
  if (failure.broken.rule == "progress") {
    return fmt::format("{}: {}", failure.broken.rule, failure.broken.detail);
  }
  return fmt::format("{}: stage {}, {}: {}", failure.broken.rule, failure.stage, what,
                     failure.broken.detail);
}

/// Executes once to find out, and in case of a violation once more to draw it.
ExecutionResult examined(const Schedule& schedule, PipelineShape shape, Run run,
                         const Sources& sources, Verdict& verdict) {
  auto result = execute(schedule, shape, run, sources(), std::nullopt);
  if (!result.failure) return result;
  const auto& failure = *result.failure;
  constexpr std::int64_t reach = 50;  // more slots than fit in a line
  const SlotWindow window{failure.slot - reach, failure.slot + reach};
  const auto drawn = execute(schedule, shape, run, sources(), window);
  Violation violation{failure.broken.rule, message_of(failure),
                      failure.stage,       failure.index,
                      run.batches,         order_grid(drawn.cells, failure.stage, failure.slot)};
  if (failure.waiting.size() > 1) {
    violation.grid += fmt::format("{}\n", fmt::join(failure.waiting, "\n"));
  }
  verdict.violation = std::move(violation);
  return result;
}

Sources generator(const Schedule& schedule, PipelineShape shape, Run run) {
  return [&schedule, shape, run] {
    std::vector<ActionSource> sources;
    for (int s = 0; s < shape.stages; ++s) sources.push_back(generated(schedule, shape, s, run));
    return sources;
  };
}

constexpr std::int64_t short_runs = 3;

/// One more than fit into an edge, so that no stage gets past them before the next one begins.
std::int64_t evaluations(PipelineShape shape) { return std::int64_t{shape.stages} + 1; }

/// Batches to fill the pipeline and to drain it, and three times the period.
std::int64_t batches_of_first_try(const Schedule& schedule, PipelineShape shape) {
  std::int64_t ahead = 0;
  for (int s = 0; s < shape.stages; ++s) {
    const auto limits = schedule.limits(s, shape);
    const std::int64_t per_batch = std::int64_t{shape.micro_batches} * shape.chunks;
    ahead = std::max(ahead, (limits.in_flight + per_batch - 1) / per_batch + limits.most_delay);
  }
  return std::max<std::int64_t>(2 * ahead + 4, schedule.reductions(shape) + 3);
}

/// Returns the period.
int execute_plain(const Schedule& schedule, PipelineShape shape, std::int64_t batches,
                  Verdict& verdict) {
  const Run run{batches, {}};
  auto result = examined(schedule, shape, run, generator(schedule, shape, run), verdict);
  verdict.stages = std::move(result.stages);
  verdict.reductions = result.reductions;
  verdict.batches = batches;
  return result.period;
}

void execute_evaluated(const Schedule& schedule, PipelineShape shape, std::int64_t batches,
                       Verdict& verdict) {
  if (verdict.violation) return;
  const Run run{batches, {.every = 1, .micro_batches = evaluations(shape)}};
  examined(schedule, shape, run, generator(schedule, shape, run), verdict);
}

Violation not_repeating(std::int64_t batches) {
  Violation violation;
  violation.rule = "steady state";
  violation.message = fmt::format(
      "steady state: the actions of {} batches do not repeat, shifted by 1 to {} batches; so "
      "nothing is known of a longer run",
      batches, Repetition::longest_period);
  violation.batches = batches;
  return violation;
}

std::string line_of(const Schedule& schedule, PipelineShape shape, const Violation& violation) {
  return fmt::format("schedule '{}' with {} stage{}, {} micro-batch{} per batch{}: {}",
                     schedule.name, shape.stages, shape.stages == 1 ? "" : "s", shape.micro_batches,
                     shape.micro_batches == 1 ? "" : "es",
                     shape.chunks == 1 ? "" : fmt::format(" and {} chunks", shape.chunks),
                     violation.message);
}

}  // namespace

Verdict validate(const Schedule& schedule, PipelineShape shape) {
  Verdict verdict;
  for (std::int64_t batches = 1; batches <= short_runs && !verdict.violation; ++batches) {
    execute_plain(schedule, shape, batches, verdict);
    execute_evaluated(schedule, shape, batches, verdict);
  }
  const std::int64_t first_try = batches_of_first_try(schedule, shape);
  for (int factor = 1; factor <= 4 && !verdict.violation; factor *= 2) {
    const std::int64_t batches = factor * first_try;
    verdict.period = execute_plain(schedule, shape, batches, verdict);
    if (verdict.period == 0) continue;
    execute_evaluated(schedule, shape, batches, verdict);
    for (int more = 1; more < verdict.period && !verdict.violation; ++more) {
      execute_plain(schedule, shape, batches + more, verdict);
      execute_evaluated(schedule, shape, batches + more, verdict);
    }
    return verdict;
  }
  if (!verdict.violation) verdict.violation = not_repeating(verdict.batches);
  return verdict;
}

Verdict validate_length(const Schedule& schedule, PipelineShape shape, std::int64_t batches) {
  Verdict verdict;
  execute_plain(schedule, shape, batches, verdict);
  execute_evaluated(schedule, shape, batches, verdict);
  return verdict;
}

double actions_to_validate(const Schedule& schedule, PipelineShape shape) {
  constexpr double all_short_runs = 1 + 2 + 3;
  const double batches =
      all_short_runs + static_cast<double>(batches_of_first_try(schedule, shape));
  // F and B with a transfer before and after, in both runs of a length, the evaluations in one.
  const double per_batch =
      2 * 6.0 * shape.micro_batches + 3.0 * static_cast<double>(evaluations(shape));
  return batches * shape.pieces() * per_batch;
}

Verdict validate_run(const Schedule& schedule, PipelineShape shape, Run run,
                     const std::vector<std::vector<Action>>& stages) {
  Verdict verdict;
  const auto lists = [&] {
    std::vector<ActionSource> sources;
    for (const auto& actions : stages) sources.push_back(listed(actions));
    return sources;
  };
  auto result = examined(schedule, shape, run, lists, verdict);
  verdict.stages = std::move(result.stages);
  verdict.reductions = result.reductions;
  verdict.batches = run.batches;
  return verdict;
}

void require(const Verdict& verdict, const Schedule& schedule, PipelineShape shape) {
  if (!verdict.violation) return;
  throw user_error("schedule", "{}\n{}", line_of(schedule, shape, *verdict.violation),
                   verdict.violation->grid);
}

void require_valid(const Schedule& schedule, PipelineShape shape) {
  check_shape(schedule, shape);
  require(validate(schedule, shape), schedule, shape);
}

}  // namespace penstock::schedule
