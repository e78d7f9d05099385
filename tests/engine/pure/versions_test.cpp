// Wrong weight versions are caught and named, by the slots or by the executor.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/executor.h"
#include "engine/pure/fake_run.h"
#include "engine/wrong_version.h"

namespace penstock::tests {
namespace {

using testing::HasSubstr;

constexpr std::int64_t batch = 4;
constexpr Reads only_forward{.forward = true, .backward = false};
constexpr Reads only_backward{.forward = false, .backward = true};

/// What the run ends with where `stage` reads another version for batch 4: before the neighbours
/// hear of it, or only in its own F and B.
std::string failure_of(const FakeRun& run, int stage, std::int64_t shift, Reads wrong,
                       bool neighbours_hear) {
  const auto change = [=](int number, schedule::ActionStream stream) {
    if (number != stage) return stream;
    return with_wrong_version(std::move(stream), batch, shift, wrong);
  };
  RunOptions options;
  (neighbours_hear ? options.change_compute : options.change_stream) = change;
  try {
    run_fake(run, options);
  } catch (const engine::StageFailure& failure) {
    return failure.what();
  }
  return "";
}

TEST(Versions, AWrongOneIsCaughtOnAnyStage) {
  for (const auto* name : {"2bw", "1f1b", "zb-h1", "zb-v", "interleaved"}) {
    const auto chunks = schedule::find(name).default_chunks;
    for (const int d : {1, 2, 4}) {
      if (d == 1 && chunks > 1) continue;
      const FakeRun run{.schedule = name, .shape = {d, 4, chunks}, .batches = 8};
      const std::int64_t right = run.schedule == "2bw" ? batch - 1 : batch;
      for (int stage = 0; stage < d; ++stage) {
        for (const std::int64_t shift : {-2, -1, 1, 2}) {
          for (const Reads wrong : {Reads{}, only_forward, only_backward}) {
            for (const bool neighbours_hear : {false, true}) {
              const auto failure = failure_of(run, stage, shift, wrong, neighbours_hear);
              EXPECT_THAT(failure, HasSubstr(fmt::format("W({})", right + shift)))
                  << text(run) << " stage " << stage << " F " << wrong.forward << " B "
                  << wrong.backward << " heard " << neighbours_hear;
              EXPECT_THAT(failure, HasSubstr("[engine] rank 0, stage "));
            }
          }
        }
      }
    }
  }
}

/// Neighbours read other versions than this stage, so only it can tell.
TEST(Versions, AWrongOneIsCaughtWhereStagesUpdateAlone) {
  for (const auto* name : {"pipedream", "paci"}) {
    for (const int d : {1, 2, 4}) {
      const FakeRun run{.schedule = name, .shape = {d, 4}, .batches = 8};
      for (int stage = 0; stage < d; ++stage) {
        for (const std::int64_t shift : {-2, -1, 1, 2}) {
          for (const Reads wrong : {only_forward, only_backward}) {
            const auto failure = failure_of(run, stage, shift, wrong, true);
            EXPECT_THAT(failure, HasSubstr(fmt::format("[engine] rank 0, stage {}, ", stage)));
          }
        }
      }
    }
  }
}

TEST(Versions, TheMessageNamesWhatIsWrong) {
  const FakeRun run{.shape = {2, 2}, .batches = 8};
  // Of two stages the last has one slot, which holds W(3).
  EXPECT_EQ(failure_of(run, 1, 1, {}, false),
            "[engine] rank 0, stage 1, forward of micro-batch 0 of batch 4 (weights W(4)): weights "
            "W(4) are asked for, but their slot holds W(3)");
  EXPECT_EQ(failure_of(run, 0, -1, {}, true),
            "[engine] rank 0, stage 1, receive_activation of micro-batch 0 of batch 4 (weights "
            "W(3)): out of order: the neighbour sent send_activation of micro-batch 0 of batch 4 "
            "(weights W(2))");
}

}  // namespace
}  // namespace penstock::tests
