#include "model/recompute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace penstock::model {
namespace {

using config::Recompute;
using testing::ElementsAre;

constexpr UnitKind embedding = UnitKind::embedding;
constexpr UnitKind attention = UnitKind::attention;
constexpr UnitKind mlp = UnitKind::mlp;
constexpr UnitKind head = UnitKind::head;

/// "0..3 again", "3..4 kept"
std::vector<std::string> cut(const std::vector<UnitKind>& kinds, Recompute recompute) {
  std::vector<std::string> all;
  for (const auto& segment : segments(kinds, recompute)) {
    all.push_back(std::to_string(segment.first) + ".." + std::to_string(segment.last) +
                  (segment.recomputed ? " again" : " kept"));
  }
  return all;
}

TEST(Recompute, NoneKeepsEveryUnit) {
  EXPECT_THAT(cut({embedding, attention, mlp, head}, Recompute::none),
              ElementsAre("0..1 kept", "1..2 kept", "2..3 kept", "3..4 kept"));
}

TEST(Recompute, ABlockIsALayerWithTheEmbeddingInFront) {
  EXPECT_THAT(cut({embedding, attention, mlp, attention, mlp, head}, Recompute::block),
              ElementsAre("0..3 again", "3..5 again", "5..6 kept"));
}

TEST(Recompute, ABlockIsWhatARangeHasOfALayer) {
  EXPECT_THAT(cut({mlp, attention, mlp, attention}, Recompute::block),
              ElementsAre("0..1 again", "1..3 again", "3..4 again"));
}

TEST(Recompute, AStageIsOneSegmentButForTheHead) {
  EXPECT_THAT(cut({embedding, attention, mlp, attention, mlp, head}, Recompute::stage),
              ElementsAre("0..5 again", "5..6 kept"));
  EXPECT_THAT(cut({mlp, attention}, Recompute::stage), ElementsAre("0..2 again"));
}

TEST(Recompute, AHeadAloneIsKept) {
  for (const auto recompute : {Recompute::none, Recompute::block, Recompute::stage}) {
    EXPECT_THAT(cut({head}, recompute), ElementsAre("0..1 kept"));
  }
}

}  // namespace
}  // namespace penstock::model
