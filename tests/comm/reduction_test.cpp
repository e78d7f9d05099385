#include "comm/reduction.h"

#include <gtest/gtest.h>

#include <barrier>
#include <chrono>
#include <cmath>
#include <future>
#include <limits>
#include <stdexcept>
#include <thread>
#include <utility>
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
  Reduction reduction({.stages = 2, .parameters = 3});
  reduction.contribute(0, share({{0, 9.0}}));
  reduction.contribute(0, share({{1, 16.0}, {2, 144.0}}, 2.5));
  const BatchTotal total = reduction.wait(0);
  EXPECT_EQ(total.gradient_norm, 13.0);
  EXPECT_EQ(total.loss, 2.5);
}

TEST(Reduction, TheOrderOfArrivalChangesNoBit) {
  // 2^-53 after 1 is rounded away eight times; before it, eight of them are 2^-50, whose half is
  // left of the square root.
  const double tiny = std::ldexp(1.0, -53);
  const double one_first = 1.0;
  const double one_last = std::sqrt(8 * tiny + 1.0);
  ASSERT_NE(one_first, one_last);
  for (const std::size_t place_of_one : {0U, 8U}) {
    std::vector<Contribution::Square> small;
    for (std::size_t i = 0; i < 8; ++i) small.push_back({place_of_one == 0 ? i + 1 : i, tiny});
    for (const bool one_arrives_first : {false, true}) {
      Reduction reduction({.stages = 2, .parameters = 9});
      const auto first = share({{place_of_one, 1.0}});
      const auto second = share(small);
      reduction.contribute(0, one_arrives_first ? first : second);
      reduction.contribute(0, one_arrives_first ? second : first);
      EXPECT_EQ(reduction.wait(0).gradient_norm, place_of_one == 0 ? one_first : one_last);
    }
  }
}

TEST(Reduction, TiedGradientsAreSummedAndCountedOnce) {
  Reduction reduction({.stages = 2, .parameters = 2, .tied_parameter = 0});
  Contribution first;
  first.tied_input = {1, 2};
  Contribution last = share({{1, 11.0}});
  last.tied_output = {2, 2};
  reduction.contribute(0, first);
  reduction.contribute(0, last);
  const BatchTotal total = reduction.wait(0);
  EXPECT_EQ(total.gradient_norm, 6.0);  // 3^2 + 4^2 + 11
  EXPECT_EQ(total.tied_square, 25.0);
  ASSERT_TRUE(total.tied);
  EXPECT_EQ(*total.tied, (std::vector<float>{3, 4}));
  EXPECT_EQ(reduction.wait(0).tied, total.tied) << "both stages read the same sum";
}

TEST(Reduction, TiedGradientsOfDifferentSizesAreRefused) {
  Reduction reduction({.stages = 1, .parameters = 1, .tied_parameter = 0});
  Contribution both;
  both.tied_input = {1, 2};
  both.tied_output = {2};
  EXPECT_THROW(reduction.contribute(0, both), std::logic_error);
}

TEST(Reduction, WhatIsNotFiniteReachesEveryone) {
  const double nan = std::nan("");
  const double inf = std::numeric_limits<double>::infinity();
  for (const auto& [square, loss] :
       std::vector<std::pair<double, double>>{{nan, 1}, {inf, 1}, {1, nan}, {1, -inf}}) {
    Reduction reduction({.stages = 2, .parameters = 2});
    reduction.contribute(0, share({{0, square}}));
    reduction.contribute(0, share({{1, 1.0}}, loss));
    EXPECT_FALSE(reduction.wait(0).finite);
    EXPECT_FALSE(reduction.wait(0).finite);
  }
  Reduction reduction({.stages = 1, .parameters = 1});
  reduction.contribute(0, share({{0, 1e300}}, -5));
  EXPECT_TRUE(reduction.wait(0).finite);
}

TEST(Reduction, AnInfinityInATiedGradientCounts) {
  Reduction reduction({.stages = 1, .parameters = 1, .tied_parameter = 0});
  Contribution both;
  both.tied_input = {1, std::numeric_limits<float>::max()};
  both.tied_output = {1, std::numeric_limits<float>::max()};
  reduction.contribute(0, both);
  EXPECT_FALSE(reduction.wait(0).finite) << "their sum is beyond what fp32 holds";
}

TEST(Reduction, AnExchangeAddsWhatOtherProcessesHave) {
  std::vector<std::int64_t> exchanged;
  Reduction reduction({.stages = 2,
                       .parameters = 3,
                       .first_batch = 7,
                       .exchange = [&](std::int64_t batch, MergedShares& shares) {
                         exchanged.push_back(batch);
                         EXPECT_EQ(shares.squares, (std::vector<double>{9, 16, 0}));
                         EXPECT_EQ(shares.loss, 0);
                         shares.squares[2] = 144;
                         shares.loss = 2.5;
                       }});
  for (std::int64_t batch = 7; batch < 10; ++batch) {
    reduction.contribute(batch, share({{1, 16.0}}));
    reduction.contribute(batch, share({{0, 9.0}}));
    for (int stage = 0; stage < 2; ++stage) {
      const auto total = reduction.wait(batch);
      EXPECT_EQ(total.gradient_norm, 13.0);
      EXPECT_EQ(total.loss, 2.5);
    }
  }
  EXPECT_EQ(exchanged, (std::vector<std::int64_t>{7, 8, 9}));
}

TEST(Reduction, AContributionDoesNotWaitForTheExchange) {
  std::promise<void> go;
  Reduction reduction({.stages = 1, .parameters = 1, .exchange = [&](std::int64_t, MergedShares&) {
                         go.get_future().wait();
                       }});
  reduction.contribute(0, share({{0, 4.0}}));  // would hang if it did
  go.set_value();
  EXPECT_EQ(reduction.wait(0).gradient_norm, 2.0);
}

TEST(Reduction, AFailedExchangeFailsEveryWait) {
  Reduction reduction({.stages = 2, .parameters = 1, .exchange = [](std::int64_t, MergedShares&) {
                         throw std::runtime_error("the line is cut");
                       }});
  reduction.contribute(0, share({}));
  reduction.contribute(0, share({}));
  EXPECT_THROW(reduction.wait(0), std::runtime_error);
  EXPECT_THROW(reduction.wait(0), std::runtime_error);
  EXPECT_THROW(reduction.wait(1), std::runtime_error);
}

TEST(Reduction, NeighbouringBatchesDoNotMix) {
  Reduction reduction({.stages = 2, .parameters = 2});
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
  Reduction reduction({.stages = 1, .parameters = 1});
  reduction.contribute(0, share({{0, 1.0}}));
  reduction.contribute(1, share({{0, 1.0}}));
  EXPECT_THROW(reduction.contribute(2, share({{0, 1.0}})), std::logic_error);
  EXPECT_EQ(reduction.wait(0).gradient_norm, 1.0);
  reduction.contribute(2, share({{0, 4.0}}));
  EXPECT_EQ(reduction.wait(2).gradient_norm, 2.0);
}

TEST(Reduction, CloseWakesTheWaiting) {
  Reduction reduction({.stages = 2, .parameters = 1});
  std::jthread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // by now the other side waits
    reduction.close();
  });
  EXPECT_THROW(reduction.wait(0), Closed);
}

}  // namespace
}  // namespace penstock::comm
