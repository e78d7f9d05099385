// The loops of rows.h for one instruction set. rows.cpp includes this once per set, inside of a
// namespace, with PENSTOCK_LANES floats to a vector; so no #pragma once, and no #include but of
// row_vectors.h: what is included here is compiled for processors that may not be there.

#include "kernels/row_vectors.h"

namespace {

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
