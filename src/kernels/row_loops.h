// The loops of rows.h for one instruction set. rows.cpp includes this once per set, inside of a
// namespace, with PENSTOCK_LANES floats to a vector; so no #pragma once, and no #include: what is
// included here would be compiled for processors that may not be there.
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

/// So many rows are reduced before the first of them is used: the way from the last term of a sum
/// to a row's factor is long, and the rows' ways overlap. The rows stay in the first cache.
constexpr std::int64_t most_rows_at_once = 16;
PENSTOCK_INLINE std::int64_t rows_at_once(std::int64_t width) {
  constexpr std::int64_t elements = 1024;
  const std::int64_t rows = elements / width;
  return rows < 1 ? 1 : (rows > most_rows_at_once ? most_rows_at_once : rows);
}

template <class T>
PENSTOCK_INLINE void norm_group(const T* x, const T* gain, double eps, T* y, float* inverse_rms,
                                std::int64_t rows, std::int64_t width) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* in = x + row * width;
    inverse_rms[row] = reduce<Plus>(0, width, [=](std::int64_t i, auto at) {
      const Vector value = at.get(in + i);
      return value * value;
    });
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    const double mean = inverse_rms[row] / static_cast<double>(width);
    inverse_rms[row] = static_cast<float>(1.0 / std::sqrt(mean + eps));
  }
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const float r = inverse_rms[row];
    for_vectors(0, width, [=](std::int64_t i, auto at) {
      at.put(at.get(x + i) * r * at.get(gain + i), y + i);
    });
  }
}

template <class T>
void norm(const T* x, const T* gain, double eps, T* y, float* inverse_rms, std::int64_t rows,
          std::int64_t width) {
  const std::int64_t group = rows_at_once(width);
  for (std::int64_t row = 0; row < rows; row += group) {
    const std::int64_t first = row * width;
    norm_group(x + first, gain, eps, y + first, inverse_rms + row,
               group < rows - row ? group : rows - row, width);
  }
}

/// Rows of norm_gradient.
template <class T>
struct NormRows {
  const T* dy;
  const T* x;
  const T* gain;
  const float* inverse_rms;
  const T* residual;
  T* dx;
  float* gain_gradient;
};

template <class T>
PENSTOCK_INLINE void norm_gradient_group(NormRows<T> p, std::int64_t rows, std::int64_t width) {
  float dots[most_rows_at_once];
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* dy = p.dy + row * width;
    const T* x = p.x + row * width;
    dots[row] = reduce<Plus>(0, width, [=](std::int64_t i, auto at) {
      return at.get(dy + i) * at.get(p.gain + i) * at.get(x + i);
    });
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    const float r = p.inverse_rms[row];
    const float x_scale = r * r * r * dots[row] / static_cast<float>(width);
    const auto gradient = [=](std::int64_t i, auto at) {
      const Vector d = at.get(p.dy + i) * r;
      const Vector value = at.get(p.x + i);
      at.put(at.get(p.gain_gradient + i) + d * value, p.gain_gradient + i);
      return d * at.get(p.gain + i) - x_scale * value;
    };
    if (p.residual == nullptr) {
      for_vectors(0, width, [=](std::int64_t i, auto at) { at.put(gradient(i, at), p.dx + i); });
    } else {
      for_vectors(0, width, [=](std::int64_t i, auto at) {
        at.put(at.get(p.residual + i) + gradient(i, at), p.dx + i);
      });
      p.residual += width;
    }
    p.dy += width;
    p.x += width;
    p.dx += width;
  }
}

template <class T>
void norm_gradient(const T* dy, const T* x, const T* gain, const float* inverse_rms,
                   const T* residual, T* dx, float* gain_gradient, std::int64_t rows,
                   std::int64_t width) {
  const std::int64_t group = rows_at_once(width);
  for (std::int64_t row = 0; row < rows; row += group) {
    const std::int64_t first = row * width;
    const T* skip = residual == nullptr ? nullptr : residual + first;
    norm_gradient_group<T>(
        {dy + first, x + first, gain, inverse_rms + row, skip, dx + first, gain_gradient},
        group < rows - row ? group : rows - row, width);
  }
}

template <class T>
void rotate(T* x, const Rotations& rotations, std::int64_t begin, std::int64_t end) {
  const std::int64_t half = rotations.half;
  const float direction = rotations.direction;
  for (std::int64_t row = begin; row < end; ++row) {
    const float* cosine = rotations.cosines + row % rotations.positions * half;
    const float* sine = rotations.sines + row % rotations.positions * half;
    T* const first = x + row * rotations.row_width;
    T* const last = first + rotations.heads * 2 * half;
    for_vectors(0, half, [=](std::int64_t i, auto at) {
      const Vector c = at.get(cosine + i);
      const Vector s = at.get(sine + i) * direction;
      for (T* head = first; head < last; head += 2 * half) {
        const Vector a = at.get(head + i);
        const Vector b = at.get(head + half + i);
        at.put(a * c - b * s, head + i);
        at.put(b * c + a * s, head + half + i);
      }
    });
  }
}

template <class T>
void swiglu(const T* gate_up, T* y, std::int64_t rows, std::int64_t width) {
  for (std::int64_t row = 0; row < rows; ++row, gate_up += 2 * width, y += width) {
    for_vectors(0, width, [=](std::int64_t i, auto at) {
      expect(gate_up + 2 * width + i);
      expect(gate_up + 3 * width + i);
      const Vector gate = at.get(gate_up + i);
      at.put(gate * sigmoid(gate) * at.get(gate_up + width + i), y + i);
    });
  }
}

template <class T>
void swiglu_gradient(const T* dy, const T* gate_up, T* gradient, std::int64_t rows,
                     std::int64_t width) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for_vectors(0, width, [=](std::int64_t i, auto at) {
      expect(gate_up + 2 * width + i);
      expect(gate_up + 3 * width + i);
      const Vector gate = at.get(gate_up + i);
      const Vector up = at.get(gate_up + width + i);
      const Vector d = at.get(dy + i);
      const Vector slope = sigmoid(gate);
      const Vector silu = gate * slope;
      at.put(d * up * (slope + silu * (1.0F - slope)), gradient + i);
      at.put(d * silu, gradient + width + i);
    });
    dy += width;
    gate_up += 2 * width;
    gradient += 2 * width;
  }
}

constexpr float infinity = std::numeric_limits<float>::infinity();

template <class T>
PENSTOCK_INLINE float maximum(const T* x, std::int64_t n) {
  return reduce<Larger>(-infinity, n,
                        [=](std::int64_t i, auto at) { return at.get(x + i, -infinity); });
}

PENSTOCK_INLINE double loss(float sum, float peak, float target) {
  return std::log(static_cast<double>(sum)) +
         (static_cast<double>(peak) - static_cast<double>(target));
}

template <class T>
void cross_entropy(const T* logits, const std::int64_t* target, double* losses, std::int64_t rows,
                   std::int64_t width) {
  for (std::int64_t row = 0; row < rows; ++row, logits += width) {
    const float peak = maximum(logits, width);
    const float sum = reduce<Plus>(0, width, [=](std::int64_t i, auto at) {
      expect(logits + width + i);
      return exponential_below_one(at.get(logits + i, -infinity) - peak);
    });
    losses[row] = loss(sum, peak, value_of(logits[target[row]]));
  }
}

template <class T>
void cross_entropy_gradient(T* logits, const std::int64_t* target, double scale, double* losses,
                            float* scratch, std::int64_t rows, std::int64_t width) {
  for (std::int64_t row = 0; row < rows; ++row, logits += width) {
    const float peak = maximum(logits, width);
    const float sum = reduce<Plus>(0, width, [=](std::int64_t i, auto at) {
      expect(logits + width + i);
      const Vector e = exponential_below_one(at.get(logits + i, -infinity) - peak);
      at.put(e, scratch + i);
      return e;
    });
    losses[row] = loss(sum, peak, value_of(logits[target[row]]));
    const auto factor = static_cast<float>(scale / static_cast<double>(sum));
    for_vectors(0, width,
                [=](std::int64_t i, auto at) { at.put(at.get(scratch + i) * factor, logits + i); });
    const Vector at_target = all(scratch[target[row]] * factor - static_cast<float>(scale));
    Part{1}.put(at_target, logits + target[row]);
  }
}

template <class T>
void add_to_rows(const T* x, const std::int64_t* row, float* table, std::int64_t rows,
                 std::int64_t width, std::int64_t begin, std::int64_t end) {
  for (std::int64_t n = 0; n < rows; ++n, x += width) {
    float* const sums = table + row[n] * width;
    for_vectors(begin, end, [=](std::int64_t i, auto at) {
      at.put(at.get(sums + i) + at.get(x + i), sums + i);
    });
  }
}

template <class T>
void exponentials(const T* x, T* y, std::int64_t n) {
  for_vectors(
      0, n, [=](std::int64_t i, auto at) { at.put(exponential_below_one(at.get(x + i)), y + i); });
}

float maximum_of(const float* x, std::int64_t n) { return maximum(x, n); }

template <class T>
float shifted_exponentials(const float* x, float scale, float offset, T* y, std::int64_t n) {
  return reduce<Plus>(0, n, [=](std::int64_t i, auto at) {
    const Vector e = exponential_below_one(at.get(x + i, -infinity) * scale - offset);
    at.put(e, y + i);
    return e;
  });
}

template <class T>
void score_gradient(const float* s, const float* dp, float scale, const float* log_sum,
                    const float* delta, T* p, T* ds, std::int64_t n) {
  for_vectors(0, n, [=](std::int64_t i, auto at) {
    const Vector e = exponential_below_one(at.get(s + i) * scale - at.get(log_sum + i));
    at.put(e, p + i);
    at.put(scale * e * (at.get(dp + i) - at.get(delta + i)), ds + i);
  });
}

template <class T>
void scale(const float* x, float factor, T* y, std::int64_t n) {
  for_vectors(0, n, [=](std::int64_t i, auto at) { at.put(at.get(x + i) * factor, y + i); });
}

template <class T>
void sum(const float* x, const T* other, T* y, std::int64_t n) {
  for_vectors(0, n,
              [=](std::int64_t i, auto at) { at.put(at.get(x + i) + at.get(other + i), y + i); });
}

template <class T>
float dot(const T* a, const T* b, std::int64_t n) {
  return reduce<Plus>(0, n, [=](std::int64_t i, auto at) { return at.get(a + i) * at.get(b + i); });
}

template <class From, class To>
void convert(const From* in, To* out, std::int64_t n) {
  for_vectors(0, n, [=](std::int64_t i, auto at) { at.put(at.get(in + i), out + i); });
}

}  // namespace

template <class T>
constexpr Loops<T> table{norm<T>,
                         norm_gradient<T>,
                         rotate<T>,
                         swiglu<T>,
                         swiglu_gradient<T>,
                         cross_entropy<T>,
                         cross_entropy_gradient<T>,
                         add_to_rows<T>,
                         exponentials<T>,
                         maximum_of,
                         shifted_exponentials<T>,
                         score_gradient<T>,
                         scale<T>,
                         sum<T>,
                         dot<T>,
                         convert<T, float>,
                         convert<float, T>};

#undef PENSTOCK_INLINE
#undef PENSTOCK_LANES
#undef PENSTOCK_ROUNDS_TO_BF16
