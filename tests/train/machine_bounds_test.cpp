#include "train/machine_bounds.h"

#include <gtest/gtest.h>

namespace penstock::train {
namespace {

TEST(MachineBounds, TheBestProductIsTheBound) {
  ProductRates rates;
  rates.measured = {{ProductKind::square, 8, 8, 8, 5},
                    {ProductKind::forward, 8, 4, 2, 7},
                    {ProductKind::forward, 8, 8, 8, 9},
                    {ProductKind::weight_gradient, 8, 8, 8, 8}};
  EXPECT_EQ(rates.best(), 9);
  EXPECT_EQ(rates.best(ProductKind::weight_gradient), 8);
  EXPECT_EQ(rates.best(ProductKind::square), 5);
  EXPECT_EQ(rates.best(ProductKind::input_gradient), 0);
}

TEST(MachineBounds, EveryKindOfProductIsMeasured) {
  for (const auto precision : {config::Precision::fp32, config::Precision::bf16}) {
    const auto rates = product_rates(precision, {1, 1}, 0.001);
    EXPECT_EQ(rates.precision, precision);
    for (const auto kind : product_kinds) EXPECT_GT(rates.best(kind), 0) << name(kind);
  }
}

TEST(MachineBounds, CopiesInACacheAreFasterThanInMemory) {
  const auto memory = copy_rate(CopyPlace::memory, {1, 1}, 0.1);
  const auto cache = copy_rate(CopyPlace::cache, {1, 1}, 0.1);
  EXPECT_EQ(memory.buffer_bytes, 64 << 20);
  EXPECT_EQ(cache.buffer_bytes, 64 << 10);
  EXPECT_GT(cache.bytes_per_s, memory.bytes_per_s);
}

TEST(MachineBounds, ManyWorkersShareTheMemoryOfTheirBuffers) {
  // A worker's pair for each: more of them than any test machine has cores would take long.
  EXPECT_EQ(copy_rate(CopyPlace::memory, {16, 1}, 0.001).buffer_bytes, 32 << 20);
}

TEST(MachineBounds, AHopTakesTime) { EXPECT_GT(hop_seconds(0.01), 0); }

}  // namespace
}  // namespace penstock::train
