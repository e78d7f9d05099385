#pragma once
// Products of blocks that lie in the caches: C (+)= A B in fp32, through oneDNN's BRGEMM as
// LibTorch exports it, and the layouts that it wants. CPU only. Threads: any; what is compiled for
// a shape is kept per thread.

#include <ATen/ATen.h>

#include <cstdint>
#include <type_traits>

namespace penstock::kernels {

/// Whether block_product() of this type is there and faster than what LibTorch's operations do with
/// small matrices: fp32 with AVX-512, bf16 with its bf16 instructions or AMX. A property of the
/// machine and of LibTorch's build.
bool has_block_products(at::ScalarType type);

/// Rows of `stride` elements each.
template <class T>
struct Block {
  T* data = nullptr;
  std::int64_t stride = 0;

  operator Block<const T>() const requires(!std::is_const_v<T>) { return {data, stride}; }
};

/// For rows of our own: whole cache lines, and one more, because with a stride of a power of two a
/// column would fall into few sets of the cache.
template <class T>
constexpr std::int64_t spread_stride(std::int64_t columns) {
  constexpr std::int64_t line = 64 / sizeof(T);
  return (columns + line - 1) / line * line + line;
}

struct ProductShape {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;  // even for bf16
};

enum class Into { overwrite, add };

/// c [m, n] = or += a [m, k] b [k, n]. In bf16, b is in pairs: row i of the block holds
/// b(2i, 0), b(2i + 1, 0), b(2i, 1), ...; its stride still counts columns.
void block_product(const ProductShape& shape, Block<const float> a, Block<const float> b,
                   Block<float> c, Into into);
void block_product(const ProductShape& shape, Block<const at::BFloat16> a,
                   Block<const at::BFloat16> b, Block<float> c, Into into);

/// To be called by a thread when it has done its block products: gives back matrix registers.
void end_block_products(at::ScalarType type);

/// out [columns, rows] = in [rows, columns] transposed.
void transpose(std::int64_t rows, std::int64_t columns, Block<const float> in, Block<float> out);
void transpose(std::int64_t rows, std::int64_t columns, Block<const at::BFloat16> in,
               Block<at::BFloat16> out);

/// b = in^T as block_product() wants it, for in [rows, columns]; columns even for bf16. b's stride
/// is at least `rows`.
void pack_transposed(std::int64_t rows, std::int64_t columns, Block<const float> in,
                     Block<float> b);
void pack_transposed(std::int64_t rows, std::int64_t columns, Block<const at::BFloat16> in,
                     Block<at::BFloat16> b);

/// b = in [rows, columns] as block_product() wants it; for odd `rows` bf16 adds a row of zeros.
void pack(std::int64_t rows, std::int64_t columns, Block<const at::BFloat16> in,
          Block<at::BFloat16> b);

}  // namespace penstock::kernels
