#include "kernels/block_product.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/helpers.h"

namespace penstock::kernels {
namespace {

using at::BFloat16;
using tests::normal;
using tests::same_bits;

template <class T>
Block<const T> block_of(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0)};
}
template <class T>
Block<T> place_in(at::Tensor& x) {
  return {x.mutable_data_ptr<T>(), x.stride(0)};
}

const std::vector<std::int64_t> sizes{1, 2, 7, 16, 33, 64, 100};

TEST(BlockProduct, TransposesAnyShape) {
  for (const auto rows : sizes) {
    for (const auto columns : sizes) {
      const at::Tensor in = normal({rows, columns + 3}, "in");  // rows further apart than wide
      const at::Tensor part = in.narrow(1, 0, columns);
      at::Tensor out = at::full({columns, rows + 5}, 7.0F);
      transpose(rows, columns, block_of<float>(in), place_in<float>(out));
      EXPECT_TRUE(at::equal(out.narrow(1, 0, rows), part.t()));
      EXPECT_TRUE((out.narrow(1, rows, 5) == 7).all().item<bool>());

      const at::Tensor halves = in.to(at::kBFloat16);
      at::Tensor halves_out = at::full({columns, rows + 5}, 7.0F, at::kBFloat16);
      transpose(rows, columns, block_of<BFloat16>(halves), place_in<BFloat16>(halves_out));
      EXPECT_TRUE(at::equal(halves_out.narrow(1, 0, rows), halves.narrow(1, 0, columns).t()));
      EXPECT_TRUE((halves_out.narrow(1, rows, 5) == 7).all().item<bool>());
    }
  }
}

/// b [2r, c] from pairs [r, c, 2].
at::Tensor unpacked(const at::Tensor& pairs) {
  return pairs.view({pairs.size(0), -1, 2}).transpose(1, 2).reshape({2 * pairs.size(0), -1});
}

TEST(BlockProduct, PairsAreTwoRows) {
  for (const auto rows : sizes) {
    for (const auto columns : sizes) {
      const at::Tensor in = normal({rows, columns}, "in", 1, at::kBFloat16);
      at::Tensor packed = at::full({(rows + 1) / 2, 2 * columns}, 7.0F, at::kBFloat16);
      pack(rows, columns, block_of<BFloat16>(in), {packed.mutable_data_ptr<BFloat16>(), columns});
      const at::Tensor plain = unpacked(packed);
      EXPECT_TRUE(at::equal(plain.narrow(0, 0, rows), in));
      if (rows % 2 != 0) {
        EXPECT_TRUE((plain[rows] == 0).all().item<bool>());
      }
      if (columns % 2 != 0) continue;
      at::Tensor turned = at::empty({columns / 2, 2 * rows}, at::kBFloat16);
      pack_transposed(rows, columns, block_of<BFloat16>(in),
                      {turned.mutable_data_ptr<BFloat16>(), rows});
      EXPECT_TRUE(at::equal(unpacked(turned), in.t()));
    }
  }
}

// Whole numbers up to 8: every product and sum is exact.
at::Tensor whole_numbers(std::vector<std::int64_t> shape, const char* name) {
  return normal(std::move(shape), name, 3).round().clamp(-8, 8);
}

TEST(BlockProduct, IsExactForWholeNumbers) {
  if (!has_block_products(at::kFloat)) GTEST_SKIP() << "this machine has none";
  for (const auto m : sizes) {
    for (const auto n : sizes) {
      for (const std::int64_t k : {2, 16, 34, 100}) {
        const at::Tensor a = whole_numbers({m, k}, "a");
        const at::Tensor b = whole_numbers({k, n}, "b");
        at::Tensor c = whole_numbers({m, n + 4}, "c");
        const at::Tensor sum = c.narrow(1, 0, n) + at::mm(a, b);
        block_product({m, n, k}, block_of<float>(a), block_of<float>(b), place_in<float>(c),
                      Into::add);
        EXPECT_TRUE(at::equal(c.narrow(1, 0, n), sum));
        block_product({m, n, k}, block_of<float>(a), block_of<float>(b), place_in<float>(c),
                      Into::overwrite);
        EXPECT_TRUE(at::equal(c.narrow(1, 0, n), at::mm(a, b)));
        if (!has_block_products(at::kBFloat16)) continue;
        const at::Tensor halves = a.to(at::kBFloat16);
        const at::Tensor right = b.to(at::kBFloat16);
        at::Tensor packed = at::empty({k / 2, 2 * n}, at::kBFloat16);
        pack(k, n, block_of<BFloat16>(right), {packed.mutable_data_ptr<BFloat16>(), n});
        block_product({m, n, k}, block_of<BFloat16>(halves), {packed.const_data_ptr<BFloat16>(), n},
                      place_in<float>(c), Into::overwrite);
        EXPECT_TRUE(at::equal(c.narrow(1, 0, n), at::mm(a, b)));
      }
    }
  }
  end_block_products(at::kBFloat16);
}

TEST(BlockProduct, OtherTypesHaveNone) { EXPECT_FALSE(has_block_products(at::kDouble)); }

}  // namespace
}  // namespace penstock::kernels
