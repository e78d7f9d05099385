// Vectors of PENSTOCK_LANES floats for row_loops.h, which includes this once per instruction set
// inside of a namespace; so no #pragma once, and no #include.
//
// Vectors are those of GCC and clang, whose operators work lane by lane.

namespace {

#define PENSTOCK_INLINE __attribute__((always_inline)) inline

constexpr std::int64_t lanes = PENSTOCK_LANES;

typedef float Vector __attribute__((vector_size(4 * lanes)));
typedef std::uint32_t Bits __attribute__((vector_size(4 * lanes)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * lanes)));
// The same, anywhere in memory.
typedef float FloatsAt __attribute__((vector_size(4 * lanes), aligned(4), may_alias));
typedef std::uint16_t HalvesAt __attribute__((vector_size(2 * lanes), aligned(2), may_alias));

PENSTOCK_INLINE Vector all(float x) { return x - Vector{}; }

PENSTOCK_INLINE float value_of(float x) { return x; }
PENSTOCK_INLINE float value_of(Bf16Bits x) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(x) << 16U);
}

PENSTOCK_INLINE Vector load(const float* p) { return *reinterpret_cast<const FloatsAt*>(p); }

PENSTOCK_INLINE Vector load(const Bf16Bits* p) {
#if PENSTOCK_LANES == 16
  // With a mask, because GCC 12 takes the undefined vector inside of the plain one for a mistake.
  const auto wide = reinterpret_cast<Bits>(
      _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif PENSTOCK_LANES == 8
  const auto wide = reinterpret_cast<Bits>(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
  const Bits wide = __builtin_convertvector(*reinterpret_cast<const HalvesAt*>(p), Bits);
#endif
  return reinterpret_cast<Vector>(wide << 16U);
}

PENSTOCK_INLINE void store(Vector x, float* p) { *reinterpret_cast<FloatsAt*>(p) = x; }

PENSTOCK_INLINE void store(Vector x, Bf16Bits* p) {
#ifdef PENSTOCK_ROUNDS_TO_BF16
  const auto halves = reinterpret_cast<Halves>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(x)));
#else
  const auto bits = reinterpret_cast<Bits>(x);
  const Bits upper = bits >> 16U;
  const Bits rounded = (bits + 0x7fffU + (upper & 1U)) >> 16U;
  const Bits chosen = x != x ? upper | 0x40U : rounded;
#if PENSTOCK_LANES == 8
  const auto both = reinterpret_cast<__m256i>(chosen);
  const auto halves = reinterpret_cast<Halves>(
      _mm_packus_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)));
#else
  const Halves halves = __builtin_convertvector(chosen, Halves);
#endif
#endif
  *reinterpret_cast<HalvesAt*>(p) = halves;
}

/// Asks for the memory at p to be in the second cache soon; p may be anywhere. The processor itself
/// follows one long stream well, but not the parts of rows, nor what comes while it only computes.
template <class T>
PENSTOCK_INLINE void expect(const T* p) {
  constexpr int to_read = 0;
  constexpr int second_cache = 2;
  __builtin_prefetch(p, to_read, second_cache);
}

/// a > b ? a : b, so b where one of them is NaN.
PENSTOCK_INLINE Vector larger(Vector a, Vector b) {
#if PENSTOCK_LANES == 16
  return _mm512_maskz_max_ps(0xffff, a, b);
#elif PENSTOCK_LANES == 8
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

/// a < b ? a : b
PENSTOCK_INLINE Vector smaller(Vector a, Vector b) {
#if PENSTOCK_LANES == 16
  return _mm512_maskz_min_ps(0xffff, a, b);
#elif PENSTOCK_LANES == 8
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

/// How a loop reaches a whole vector of a row.
struct Whole {
  template <class T>
  PENSTOCK_INLINE Vector get(const T* p, float = 0) const {
    return load(p);
  }
  template <class T>
  PENSTOCK_INLINE void put(Vector x, T* p) const {
    store(x, p);
  }
};

/// How it reaches the last `count` < lanes elements; the other lanes are `fill`.
struct Part {
  std::int64_t count;

  // Not inlined: once per row at most, and as long as the loop itself.
  __attribute__((noinline)) Vector get(const float* p, float fill = 0) const {
    float values[lanes];
    for (std::int64_t i = 0; i < lanes; ++i) values[i] = i < count ? p[i] : fill;
    return load(values);
  }
  __attribute__((noinline)) Vector get(const Bf16Bits* p, float fill = 0) const {
    float values[lanes];
    for (std::int64_t i = 0; i < lanes; ++i) values[i] = i < count ? value_of(p[i]) : fill;
    return load(values);
  }
  template <class T>
  __attribute__((noinline)) void put(Vector x, T* p) const {
    T values[lanes];
    store(x, values);
    for (std::int64_t i = 0; i < count; ++i) p[i] = values[i];
  }
};

/// Calls work(i, how to reach the elements from i on) for all vectors of [begin, end).
template <class Work>
PENSTOCK_INLINE void for_vectors(std::int64_t begin, std::int64_t end, Work work) {
  std::int64_t i = begin;
  for (; i + lanes <= end; i += lanes) work(i, Whole{});
  if (i < end) work(i, Part{end - i});
}

struct Plus {
  static PENSTOCK_INLINE Vector of(Vector a, Vector b) { return a + b; }
};
struct Larger {
  static PENSTOCK_INLINE Vector of(Vector a, Vector b) { return larger(a, b); }
};

/// All lanes combined, the halves with each other first.
template <class Operation>
PENSTOCK_INLINE float across(Vector x) {
#if PENSTOCK_LANES == 16
  x = Operation::of(
      x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
  x = Operation::of(x,
                    __builtin_shufflevector(x, x, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7));
  x = Operation::of(x,
                    __builtin_shufflevector(x, x, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3));
#elif PENSTOCK_LANES == 8
  x = Operation::of(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 4, 5, 6, 7));
  x = Operation::of(x, __builtin_shufflevector(x, x, 2, 3, 2, 3, 2, 3, 2, 3));
#else
  x = Operation::of(x, __builtin_shufflevector(x, x, 2, 3, 2, 3));
#endif
  const Vector second = all(x[1]);
  return Operation::of(x, second)[0];
}

/// term(0) op term(1) ... in four independent chains.
template <class Operation, class Term>
PENSTOCK_INLINE float reduce(float start, std::int64_t n, Term term) {
  Vector a = all(start);
  Vector b = a;
  Vector c = a;
  Vector d = a;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    a = Operation::of(term(i, Whole{}), a);
    b = Operation::of(term(i + lanes, Whole{}), b);
    c = Operation::of(term(i + 2 * lanes, Whole{}), c);
    d = Operation::of(term(i + 3 * lanes, Whole{}), d);
  }
  for (; i + lanes <= n; i += lanes) a = Operation::of(term(i, Whole{}), a);
  if (i < n) b = Operation::of(term(i, Part{n - i}), b);
  Vector rest = Operation::of(Operation::of(a, b), Operation::of(c, d));
  return across<Operation>(rest);
}

/// e^x for x in [-87, 88]: 2^n e^r with x = n ln 2 + r, |r| <= ln(2)/2. The polynomial is the one
/// of its degree with 1 + r in it that has the least largest relative error, 4e-9; its value is in
/// (1/sqrt(2), sqrt(2)), so that n can be added to its exponent.
PENSTOCK_INLINE Vector exponential_within(Vector x) {
  constexpr float log2_e = 1.44269504F;
  constexpr float ln2_high = 0.693359375F;  // few mantissa bits: n * ln2_high is exact
  constexpr float ln2_low = -2.12194440e-4F;
  constexpr float round_to_integer = 12582912.0F;  // 1.5 * 2^23
  const Vector shifted = x * log2_e + round_to_integer;
  const Vector n = shifted - round_to_integer;
  const Vector r = (x - n * ln2_high) - n * ln2_low;
  // Few operations one behind the other: how many exponentials overlap is what limits their rate.
  const Vector square = r * r;
  const Vector first = 0.499999940F + 0.166665211F * r;
  const Vector last = (0.041668389F + 0.00836874545F * r) + 0.00138145406F * square;
  const Vector p = (1.0F + r) + (first + last * square) * square;
  const Bits power = reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(shifted) << 23U);
  return reinterpret_cast<Vector>(power);
}

constexpr float least_exponent = -87;
constexpr float largest_exponent = 88;

/// e^x for x <= 0, and 0 below -87; NaN stays NaN, whatever its payload.
PENSTOCK_INLINE Vector exponential_below_one(Vector x) {
  const Vector result = exponential_within(x);  // anything where x is below its range
  return x < least_exponent ? Vector{} : (x != x ? x : result);
}

PENSTOCK_INLINE Vector sigmoid(Vector x) {
  const Vector bounded = smaller(all(largest_exponent), larger(all(least_exponent), -x));
  const Vector result = 1.0F / (1.0F + exponential_within(bounded));
  return x != x ? x : result;
}

}  // namespace
