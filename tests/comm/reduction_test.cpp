#include "comm/reduction.h"

#include <gtest/gtest.h>

#include <array>
#include <barrier>
#include <cmath>
#include <stdexcept>
#include <thread>
#include <vector>

#include "comm/closed.h"

namespace penstock::comm {
namespace {

Contribution share(std::vector<Contribution::Square> squares, double loss = 0) {
  Contribution contribution;
  contribution.squares = std::move(squares);
  contribution.loss = loss;
  return contribution;
}

TEST(Reduction, AddsAllSharesOfOneBatch) {
  Reduction reduction(2, 3);
  reduction.contribute(0, share({{0, 9.0}}));
  reduction.contribute(0, share({{1, 16.0}, {2, 144.0}}, 2.5));
  const BatchTotal total = reduction.wait(0);
  EXPECT_EQ(total.gradient_norm, 13.0);
  EXPECT_EQ(total.loss, 2.5);
}

TEST(Reduction, TheOrderOfArrivalChangesNoBit) {
  // 1 + 2^-53 is rounded away term by term, but 2^-53 + 2^-53 + 1 is not: the order shows.
  const double tiny = std::ldexp(1.0, -53);
  std::vector<double> norms;
  for (const bool swapped : {false, true}) {
    Reduction reduction(2, 3);
    const auto first = share({{0, 1.0}});
    const auto second = share({{1, tiny}, {2, tiny}});
    reduction.contribute(0, swapped ? second : first);
    reduction.contribute(0, swapped ? first : second);
    norms.push_back(reduction.wait(0).gradient_norm);
  }
  EXPECT_EQ(norms[0], 1.0);
  EXPECT_EQ(norms[1], 1.0);
}

TEST(Reduction, TiedGradientsAreSummedInBothPlacesAndCountedOnce) {
  std::array<float, 2> embedding{1, 2};
  std::array<float, 2> head{2, 2};
  Reduction reduction(2, 2, 0);
  Contribution first;
  first.tied_input = embedding;
  Contribution last = share({{1, 11.0}});
  last.tied_output = head;
  reduction.contribute(0, first);
  reduction.contribute(0, last);
  EXPECT_EQ(reduction.wait(0).gradient_norm, 6.0);  // 3^2 + 4^2 + 11
  EXPECT_EQ(embedding, (std::array<float, 2>{3, 4}));
  EXPECT_EQ(head, embedding);
}

TEST(Reduction, NanReachesEveryone) {
  Reduction reduction(2, 2);
  reduction.contribute(0, share({{0, std::nan("")}}));
  reduction.contribute(0, share({{1, 1.0}}));
  EXPECT_TRUE(std::isnan(reduction.wait(0).gradient_norm));
}

TEST(Reduction, NeighbouringBatchesDoNotMix) {
  Reduction reduction(2, 2);
  std::barrier all_collected(2);
  const auto run = [&](std::size_t stage) {
    for (int batch = 0; batch < 1000; ++batch) {
      reduction.contribute(batch, share({{stage, stage == 0 ? 0.0 : 1.0 * batch * batch}}));
      if (batch > 0) {
        EXPECT_EQ(reduction.wait(batch - 1).gradient_norm, batch - 1);
      }
      all_collected.arrive_and_wait();
    }
  };
  std::jthread other([&] { run(0); });
  run(1);
}

TEST(Reduction, ARoundThatSomebodyStillNeedsIsNotReused) {
  Reduction reduction(1, 1);
  reduction.contribute(0, share({{0, 1.0}}));
  reduction.contribute(1, share({{0, 1.0}}));
  EXPECT_THROW(reduction.contribute(2, share({{0, 1.0}})), std::logic_error);
  EXPECT_EQ(reduction.wait(0).gradient_norm, 1.0);
  reduction.contribute(2, share({{0, 4.0}}));
  EXPECT_EQ(reduction.wait(2).gradient_norm, 2.0);
}

TEST(Reduction, CloseWakesTheWaiting) {
  Reduction reduction(2, 1);
  std::jthread closer([&] { reduction.close(); });
  EXPECT_THROW(reduction.wait(0), Closed);
}

}  // namespace
}  // namespace penstock::comm
