#include "ranks/exchange.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "ranks/in_one_process.h"

namespace penstock::ranks {
namespace {

using comm::BatchTotal;
using comm::Contribution;
using comm::Reduction;
using tests::run_ranks_well;

constexpr double infinity = std::numeric_limits<double>::infinity();

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void expect_same(const BatchTotal& a, const BatchTotal& b) {
  EXPECT_TRUE(same_bits(a.gradient_norm, b.gradient_norm)) << a.gradient_norm << b.gradient_norm;
  EXPECT_TRUE(same_bits(a.loss, b.loss));
  EXPECT_EQ(a.finite, b.finite);
}

/// Four stages; the first has the embedding, the last the head and the loss.
std::vector<Contribution> shares_of(std::int64_t batch, bool tied) {
  std::vector<Contribution> shares(4);
  const double b = static_cast<double>(batch);
  shares[0].squares = {{1, 0.1 + b}};
  shares[1].squares = {{2, 1e-17}, {4, 3e5 / (1 + b)}};
  shares[2].squares = {{3, 0.3}};
  shares[3].squares = {{5, 0.7}};
  shares[3].loss = 2.3 - 0.1 * b;
  if (tied) {
    for (int i = 0; i < 1000; ++i) {
      shares[0].tied_input.push_back(0.1f * static_cast<float>(i));
      shares[3].tied_output.push_back(1.7f / static_cast<float>(i + 1));
    }
  } else {
    shares[0].squares.push_back({0, 0.9});
  }
  if (batch == 3) shares[1].squares[0].value = infinity;
  if (batch == 4) shares[2].squares[0].value = std::nan("");
  return shares;
}

Reduction::Setup setup(int stages, bool tied, Reduction::Exchange exchange) {
  return {.stages = stages,
          .parameters = 6,
          .tied_parameter = tied ? 0 : Reduction::no_parameter,
          .exchange = std::move(exchange)};
}

constexpr std::int64_t batches = 6;

std::vector<BatchTotal> in_one_process(bool tied) {
  Reduction reduction(setup(4, tied, nullptr));
  std::vector<BatchTotal> totals;
  for (std::int64_t batch = 0; batch < batches; ++batch) {
    for (const auto& share : shares_of(batch, tied)) reduction.contribute(batch, share);
    for (int stage = 0; stage < 4; ++stage) totals.push_back(reduction.wait(batch));
  }
  return totals;
}

/// Every rank with its share of the stages; two batches under way at a time.
void expect_as_in_one_process(int ranks, bool tied) {
  const auto expected = in_one_process(tied);
  run_ranks_well(ranks, [&](Group& group) {
    const int stages = 4 / ranks, first = group.rank() * stages;
    Reduction reduction(
        setup(stages, tied, make_exchange(group, setup(4, tied, {}).tied_parameter)));
    const auto contribute = [&](std::int64_t batch) {
      const auto shares = shares_of(batch, tied);
      for (int s = first; s < first + stages; ++s) {
        reduction.contribute(batch, shares[static_cast<std::size_t>(s)]);
      }
    };
    contribute(0);
    for (std::int64_t batch = 0; batch < batches; ++batch) {
      if (batch + 1 < batches) contribute(batch + 1);
      for (int s = first; s < first + stages; ++s) {
        const auto total = reduction.wait(batch);
        const auto& whole = expected[static_cast<std::size_t>(4 * batch + s)];
        expect_same(total, whole);
        if (tied && (s == 0 || s == 3)) {
          EXPECT_EQ(*total.tied, *whole.tied);
        }
      }
    }
  });
}

TEST(Exchange, GivesEveryRankTheBitsOfOneProcess) {
  EXPECT_FALSE(in_one_process(false)[4 * 3].finite);
  for (const int ranks : {2, 4}) expect_as_in_one_process(ranks, false);
}

TEST(Exchange, SumsTheGradientsOfATiedWeight) {
  EXPECT_TRUE(in_one_process(true)[0].tied);
  for (const int ranks : {2, 4}) expect_as_in_one_process(ranks, true);
}

TEST(Exchange, EndsWithTheGroup) {
  run_ranks_well(2, [](Group& group) {
    Reduction reduction(setup(1, false, make_exchange(group, Reduction::no_parameter)));
    if (group.rank() == 1) {
      group.fail({.rank = 1, .message = "[test] enough"});
      return;
    }
    reduction.contribute(0, {});
    EXPECT_ANY_THROW(reduction.wait(0));
  });
}

}  // namespace
}  // namespace penstock::ranks
