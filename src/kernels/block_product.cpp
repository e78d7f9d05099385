#include "kernels/block_product.h"

#include <ATen/native/CPUBlas.h>

#if defined(__x86_64__) && __has_include(<fbgemm/Utils.h>)
#include <fbgemm/Utils.h>
#define PENSTOCK_FBGEMM_TRANSPOSE
#endif

#include <algorithm>
#include <array>
#include <exception>

#include "base/cpu.h"
#include "base/vectorize.h"

namespace penstock::kernels {
namespace {

// Two values of bf16, or one float.
using Word = std::uint32_t;
static_assert(sizeof(Word) == sizeof(float) && sizeof(Word) == 2 * sizeof(at::BFloat16));

/// One product of ones: LibTorch may be built without oneDNN or refuse this processor.
template <class T>
bool works() {
  constexpr std::int64_t size = 16;
  std::array<T, size * size> ones{};
  ones.fill(T(1.0F));
  std::array<float, size * size> product{};
  try {
    block_product({size, size, size}, {ones.data(), size}, {ones.data(), size},
                  {product.data(), size}, Into::overwrite);
    end_block_products(c10::CppTypeToScalarType<T>::value);
  } catch (const std::exception&) {
    return false;
  }
  return std::ranges::all_of(product, [](float value) { return value == size; });
}

PENSTOCK_VECTORIZE
void interleave(const std::uint16_t* even, const std::uint16_t* odd, Word* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = Word{even[i]} | Word{odd[i]} << 16U;
}

PENSTOCK_VECTORIZE
void widen(const std::uint16_t* even, Word* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = even[i];
}

template <class T>
void transpose_elements(std::int64_t rows, std::int64_t columns, const T* in,
                        std::int64_t in_stride, T* out, std::int64_t out_stride) {
#ifdef PENSTOCK_FBGEMM_TRANSPOSE
  fbgemm::transpose_simd<T>(rows, columns, in, in_stride, out, out_stride);
#else
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      out[column * out_stride + row] = in[row * in_stride + column];
    }
  }
#endif
}

}  // namespace

bool has_block_products(at::ScalarType type) {
  static const CpuFeatures features = cpu_features();
  if (type == at::kFloat) {
    static const bool fp32 = features.avx512f && works<float>();
    return fp32;
  }
  if (type == at::kBFloat16) {
    static const bool bf16 = (features.avx512_bf16 || features.amx_bf16) && works<at::BFloat16>();
    return bf16;
  }
  return false;
}

void block_product(const ProductShape& shape, Block<const float> a, Block<const float> b,
                   Block<float> c, Into into) {
  at::native::cpublas::brgemm(shape.m, shape.n, shape.k, a.stride, b.stride, c.stride,
                              into == Into::add, a.data, b.data, c.data, /*is_vnni=*/false);
}

void block_product(const ProductShape& shape, Block<const at::BFloat16> a,
                   Block<const at::BFloat16> b, Block<float> c, Into into) {
  at::native::cpublas::brgemm(shape.m, shape.n, shape.k, a.stride, b.stride, c.stride,
                              into == Into::add, a.data, b.data, c.data, /*is_vnni=*/true);
}

void end_block_products(at::ScalarType type) {
  at::native::cpublas::brgemm_release(/*is_vnni=*/type == at::kBFloat16);
}

void transpose(std::int64_t rows, std::int64_t columns, Block<const float> in, Block<float> out) {
  transpose_elements(rows, columns, in.data, in.stride, out.data, out.stride);
}

void transpose(std::int64_t rows, std::int64_t columns, Block<const at::BFloat16> in,
               Block<at::BFloat16> out) {
  transpose_elements(rows, columns, reinterpret_cast<const std::uint16_t*>(in.data), in.stride,
                     reinterpret_cast<std::uint16_t*>(out.data), out.stride);
}

void pack_transposed(std::int64_t rows, std::int64_t columns, Block<const float> in,
                     Block<float> b) {
  transpose(rows, columns, in, b);
}

void pack_transposed(std::int64_t rows, std::int64_t columns, Block<const at::BFloat16> in,
                     Block<at::BFloat16> b) {
  // A pair is two neighbours of a row, so whole words change places.
  transpose_elements(rows, columns / 2, reinterpret_cast<const float*>(in.data), in.stride / 2,
                     reinterpret_cast<float*>(b.data), b.stride);
}

void pack(std::int64_t rows, std::int64_t columns, Block<const at::BFloat16> in,
          Block<at::BFloat16> b) {
  const auto* from = reinterpret_cast<const std::uint16_t*>(in.data);
  auto* to = reinterpret_cast<Word*>(b.data);
  for (std::int64_t row = 0; row + 1 < rows; row += 2) {
    interleave(from + row * in.stride, from + (row + 1) * in.stride, to + row / 2 * b.stride,
               columns);
  }
  if (rows % 2 != 0) widen(from + (rows - 1) * in.stride, to + rows / 2 * b.stride, columns);
}

}  // namespace penstock::kernels
