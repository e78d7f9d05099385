#include "kernels/rows.h"

#include <c10/util/BFloat16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/random.h"

// Every loop in the code of every instruction set of this processor, against double precision.
namespace penstock::kernels::rows {
namespace {

constexpr double rounding = 0x1p-24;
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
// Around one, two and four vectors of every instruction set; 257 makes groups of three rows.
constexpr std::int64_t widths[] = {1, 3, 15, 16, 17, 63, 64, 65, 257, 1000};
constexpr std::int64_t rows_of_each = 19;  // more than are reduced at once

template <class T>
double value(T x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 16U);
  }
}

/// c10's conversion, the one that LibTorch itself uses.
template <class T>
T element(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return c10::BFloat16(x).x;
  }
}

/// The rounding of a result where it is stored, and the smallest numbers that are stored.
template <class T>
constexpr double storage = std::is_same_v<T, float> ? 0 : 1.01 * 0x1p-8;
constexpr double least_normal = 0x1p-126;

template <class T>
std::vector<T> normal(std::int64_t n, std::string_view name, double scale = 1) {
  std::vector<T> values;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto index = static_cast<std::uint64_t>(i);
    values.push_back(
        element<T>(static_cast<float>(scale * random_normal(random_key(3, name), index))));
  }
  return values;
}

/// Room for results, with elements on both sides that nobody may write.
template <class T>
class Output {
 public:
  explicit Output(std::int64_t n) : values_(static_cast<std::size_t>(n + 2 * margin), canary()) {}
  explicit Output(const std::vector<T>& content) : Output(std::ssize(content)) {
    std::copy(content.begin(), content.end(), data());
  }
  ~Output() {
    for (std::int64_t i = 0; i < margin; ++i) {
      EXPECT_EQ(values_[static_cast<std::size_t>(i)], canary()) << "written before the rows";
      EXPECT_EQ(values_[values_.size() - 1 - static_cast<std::size_t>(i)], canary())
          << "written behind the rows";
    }
  }
  T* data() { return values_.data() + margin; }
  double operator[](std::int64_t i) const { return value(*(values_.data() + margin + i)); }

 private:
  static constexpr std::int64_t margin = 17;
  static T canary() { return element<T>(123); }
  std::vector<T> values_;
};

/// Roundings on the longest way through a sum of n terms: at least 16 partial sums, then those.
double sum_roundings(std::int64_t n) { return static_cast<double>(n) / 16 + 18; }

/// Calls test(loops, type's example, instruction set) for all of them.
template <class Test>
void for_all(Test test) {
  for (const InstructionSet set : instruction_sets()) {
    SCOPED_TRACE(testing::Message() << "instruction set " << static_cast<int>(set));
    {
      SCOPED_TRACE("fp32");
      test(loops<float>(set), float{}, set);
    }
    {
      SCOPED_TRACE("bf16");
      test(loops<Bf16Bits>(set), Bf16Bits{}, set);
    }
  }
}

/// d f / d x[i], by central differences of a function of double precision.
double slope(std::vector<double>& x, std::int64_t i,
             const std::function<double(const std::vector<double>&)>& f) {
  constexpr double h = 1e-5;  // errors of h^2 and of 2^-53 / h: both about 1e-11
  const auto index = static_cast<std::size_t>(i);
  const double before = x[index];
  x[index] = before + h;
  const double above = f(x);
  x[index] = before - h;
  const double below = f(x);
  x[index] = before;
  return (above - below) / (2 * h);
}
constexpr double slope_error = 1e-9;

template <class T>
std::vector<double> exact(const T* values, std::int64_t n) {
  std::vector<double> result;
  for (std::int64_t i = 0; i < n; ++i) result.push_back(value(values[i]));
  return result;
}

TEST(Rows, TheFirstInstructionSetIsPortable) {
  EXPECT_EQ(instruction_sets().front(), InstructionSet::portable);
  EXPECT_EQ(&loops<float>(), &loops<float>(instruction_sets().back()));
  EXPECT_EQ(&loops<Bf16Bits>(), &loops<Bf16Bits>(instruction_sets().back()));
  for (const InstructionSet a : instruction_sets()) {
    for (const InstructionSet b : instruction_sets()) {
      EXPECT_EQ(loops<float>(a).norm == loops<float>(b).norm, a == b) << "the same code for two";
    }
  }
}

Bf16Bits bf16(float x, InstructionSet set) {
  Bf16Bits bits = 0;
  loops<Bf16Bits>(set).from_float(&x, &bits, 1);
  return bits;
}

/// The processor's own conversion makes zeros of numbers that are not normal.
bool may_be_zero(Bf16Bits bits, InstructionSet set) {
  return set == InstructionSet::avx512_bf16 && (bits & 0x7f80U) == 0;
}

TEST(Rows, Bf16ToFloatAndBackIsTheIdentity) {
  constexpr std::int64_t all = 65536;
  std::vector<Bf16Bits> bits(all);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<Bf16Bits>(i);
  for (const InstructionSet set : instruction_sets()) {
    std::vector<float> values(all);
    loops<Bf16Bits>(set).to_float(bits.data(), values.data(), all);
    std::vector<Bf16Bits> back(all);
    loops<Bf16Bits>(set).from_float(values.data(), back.data(), all);
    for (std::size_t i = 0; i < bits.size(); ++i) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), static_cast<std::uint32_t>(i) << 16U);
      if (std::isnan(values[i])) {
        ASSERT_TRUE(std::isnan(value(back[i])));
      } else if (!may_be_zero(bits[i], set) || back[i] != (bits[i] & 0x8000U)) {
        ASSERT_EQ(back[i], bits[i]);
      }
    }
  }
}

TEST(Rows, ToBf16RoundsToNearestTiesToEven) {
  for (const InstructionSet set : instruction_sets()) {
    EXPECT_EQ(bf16(1.0F, set), 0x3f80);
    EXPECT_EQ(bf16(1.0F + 0x1p-8F, set), 0x3f80) << "a tie goes to the even neighbour below";
    EXPECT_EQ(bf16(1.0F + 0x3p-8F, set), 0x3f82) << "a tie goes to the even neighbour above";
    EXPECT_EQ(bf16(1.0F + 0x1p-8F + 0x1p-23F, set), 0x3f81);
    EXPECT_EQ(bf16(1.0F + 0x3p-8F - 0x1p-23F, set), 0x3f81);
    EXPECT_EQ(bf16(-0.0F, set), 0x8000);
    EXPECT_EQ(bf16(std::numeric_limits<float>::max(), set), 0x7f80) << "rounds to infinity";
    EXPECT_EQ(bf16(-infinity, set), 0xff80);
    std::vector<float> values;
    for (std::uint32_t i = 0; i < 200'001; ++i) {
      values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random_bits(11, i))));
    }
    std::vector<Bf16Bits> bits(values.size());
    loops<Bf16Bits>(set).from_float(values.data(), bits.data(), std::ssize(values));
    for (std::size_t i = 0; i < bits.size(); ++i) {
      const auto expected = element<Bf16Bits>(values[i]);
      if (std::isnan(values[i]) || std::abs(values[i]) < least_normal) continue;
      ASSERT_EQ(bits[i], expected) << values[i];
    }
  }
}

TEST(Rows, ToBf16KeepsEveryNan) {
  // The payload's upper bits may all be zero: cutting them off must not leave an infinity.
  for (const InstructionSet set : instruction_sets()) {
    for (const std::uint32_t bits :
         {0x7f800001U, 0xff800001U, 0x7fffffffU, 0xffffffffU, 0x7fc00000U}) {
      EXPECT_GT(bf16(std::bit_cast<float>(bits), set) & 0x7fffU, 0x7f80U) << bits;
    }
  }
}

TEST(Rows, ExponentialsStayWithinThePromisedError) {
  std::vector<float> x;
  for (double at = -87; at <= 88; at += 1.7e-3) x.push_back(static_cast<float>(at));
  for (int n = -125; n <= 126; ++n) {  // where the exponent changes
    auto at = static_cast<float>((n + 0.5) * std::log(2.0));
    for (int i = 0; i < 20; ++i) at = std::nextafter(at, -infinity);
    for (int i = 0; i < 40; ++i, at = std::nextafter(at, infinity)) x.push_back(at);
  }
  for (const InstructionSet set : instruction_sets()) {
    std::vector<float> y(x.size());
    loops<float>(set).exponentials(x.data(), y.data(), std::ssize(x));
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(y[i] / std::exp(static_cast<double>(x[i])), 1, 2e-7) << x[i];
    }
  }
}

TEST(Rows, ExponentialsOfSpecialValues) {
  // Two not-a-numbers with payloads that arithmetic on their bits would make numbers of.
  const std::vector<float> x{0.0F,
                             -0.0F,
                             -87.0F,
                             std::nextafter(-87.0F, -infinity),
                             -1e4F,
                             -infinity,
                             nan,
                             -nan,
                             std::bit_cast<float>(0x7fc00001U),
                             std::bit_cast<float>(0xffffffffU)};
  for (const InstructionSet set : instruction_sets()) {
    std::vector<float> y(x.size());
    loops<float>(set).exponentials(x.data(), y.data(), std::ssize(x));
    EXPECT_EQ(y[0], 1);
    EXPECT_EQ(y[1], 1);
    EXPECT_GT(y[2], 0);
    for (const std::size_t i : {3U, 4U, 5U}) EXPECT_EQ(y[i], 0) << x[i];
    for (std::size_t i = 6; i < x.size(); ++i) EXPECT_TRUE(std::isnan(y[i])) << i;
  }
}

TEST(Rows, SwigluSaturates) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    std::vector<T> gate_up;
    for (const float x : {1e4F, -1e4F, 0.0F, infinity, 3.0F, 3.0F, 3.0F, 3.0F}) {
      gate_up.push_back(element<T>(x));
    }
    std::vector<T> y(4);
    loops.swiglu(gate_up.data(), y.data(), 1, 4);
    EXPECT_EQ(value(y[0]), value(element<T>(3 * static_cast<float>(value(gate_up[0])))));
    EXPECT_NEAR(value(y[1]), 0, 1e-30);
    EXPECT_EQ(value(y[2]), 0);
    EXPECT_EQ(value(y[3]), infinity);
  });
}

constexpr double eps = 1e-5;

double inverse_rms(const std::vector<double>& x) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  return 1 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
}

TEST(Rows, Norm) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const auto x = normal<T>(rows_of_each * width, "x");
      const auto gain = normal<T>(width, "gain");
      Output<T> y(rows_of_each * width);
      Output<float> inverse(rows_of_each);
      loops.norm(x.data(), gain.data(), eps, y.data(), inverse.data(), rows_of_each, width);
      // A square root halves the sum's roundings, a conversion and two products follow.
      const double tolerance = (sum_roundings(width) / 2 + 4) * rounding;
      for (std::int64_t row = 0; row < rows_of_each; ++row) {
        const auto in = exact(x.data() + row * width, width);
        const double r = inverse_rms(in);
        ASSERT_NEAR(inverse[row] / r, 1, tolerance);
        for (std::int64_t i = 0; i < width; ++i) {
          const auto index = static_cast<std::size_t>(i);
          const double expected = in[index] * r * value(gain[index]);
          ASSERT_NEAR(y[row * width + i], expected,
                      (tolerance + storage<T>)*std::abs(expected) + least_normal)
              << row << " " << i << " of " << width;
        }
      }
    }
  });
}

TEST(Rows, NormGradient) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const std::int64_t n = rows_of_each * width;
      const auto dy = normal<T>(n, "dy");
      const auto x = normal<T>(n, "x");
      const auto gain = normal<T>(width, "gain");
      const auto residual = normal<T>(n, "residual");
      std::vector<float> inverse;
      for (std::int64_t row = 0; row < rows_of_each; ++row) {
        inverse.push_back(static_cast<float>(inverse_rms(exact(x.data() + row * width, width))));
      }
      for (const bool with_residual : {false, true}) {
        Output<T> dx(n);
        Output<float> dgain(std::vector<float>(static_cast<std::size_t>(width), 0.5F));
        loops.norm_gradient(dy.data(), x.data(), gain.data(), inverse.data(),
                            with_residual ? residual.data() : nullptr, dx.data(), dgain.data(),
                            rows_of_each, width);
        const double roundings = sum_roundings(width) + 12;
        std::vector<double> expected_dgain(static_cast<std::size_t>(width), 0.5);
        std::vector<double> size_of_dgain(static_cast<std::size_t>(width), 0.5);
        for (std::int64_t row = 0; row < rows_of_each; ++row) {
          auto in = exact(x.data() + row * width, width);
          const auto d = exact(dy.data() + row * width, width);
          const auto loss = [&](const std::vector<double>& at) {
            double sum = 0;
            for (std::size_t i = 0; i < at.size(); ++i) sum += at[i] * d[i] * value(gain[i]);
            return sum * inverse_rms(at);
          };
          const double r = inverse_rms(in);
          double through_norm = 0;
          for (std::size_t i = 0; i < in.size(); ++i) {
            through_norm += std::abs(d[i] * value(gain[i]) * in[i]);
            expected_dgain[i] += d[i] * in[i] * r;
            size_of_dgain[i] += std::abs(d[i] * in[i] * r);
          }
          for (std::int64_t i = 0; i < width; i += 1 + width / 20) {
            const auto index = static_cast<std::size_t>(i);
            const double skip =
                with_residual ? value(residual[static_cast<std::size_t>(row * width + i)]) : 0;
            const double expected = skip + slope(in, i, loss);
            const double size =
                r * std::abs(d[index] * value(gain[index])) +
                std::abs(in[index]) * r * r * r * through_norm / static_cast<double>(width) +
                std::abs(skip);
            ASSERT_NEAR(dx[row * width + i], expected,
                        roundings * rounding * size + storage<T> * std::abs(expected) +
                            slope_error * (1 + std::abs(loss(in))))
                << row << " " << i << " of " << width << " " << with_residual;
          }
        }
        for (std::int64_t i = 0; i < width; ++i) {
          const auto index = static_cast<std::size_t>(i);
          ASSERT_NEAR(dgain[i], expected_dgain[index],
                      (rows_of_each + 5) * rounding * size_of_dgain[index]);
        }
      }
    }
  });
}

TEST(Rows, NormGradientMayOverwriteItsResidual) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    constexpr std::int64_t width = 65;
    constexpr std::int64_t n = 3 * width;
    const auto dy = normal<T>(n, "dy");
    const auto x = normal<T>(n, "x");
    const auto gain = normal<T>(width, "gain");
    const std::vector<float> inverse{0.5F, 1, 2};
    const auto residual = normal<T>(n, "residual");
    std::vector<T> dx(n);
    std::vector<T> in_place = residual;
    std::vector<float> dgain(width);
    loops.norm_gradient(dy.data(), x.data(), gain.data(), inverse.data(), residual.data(),
                        dx.data(), dgain.data(), 3, width);
    loops.norm_gradient(dy.data(), x.data(), gain.data(), inverse.data(), in_place.data(),
                        in_place.data(), dgain.data(), 3, width);
    EXPECT_EQ(in_place, dx);
  });
}

TEST(Rows, Rotate) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t half : {1, 3, 16, 17, 32, 65}) {
      constexpr std::int64_t heads = 3;
      constexpr std::int64_t positions = 4;
      const std::int64_t width = heads * 2 * half + 5;  // five columns are not rotated
      const auto x = normal<T>(7 * width, "x");
      const auto cosines = normal<float>(positions * half, "cosines");
      const auto sines = normal<float>(positions * half, "sines");
      for (const float direction : {1.0F, -1.0F}) {
        Output<T> y(x);
        loops.rotate(y.data(),
                     {width, heads, half, positions, cosines.data(), sines.data(), direction}, 1,
                     6);
        for (std::int64_t row = 0; row < 7; ++row) {
          for (std::int64_t column = 0; column < width; ++column) {
            const std::int64_t head = column / (2 * half);
            const std::int64_t i = column % half;
            const std::int64_t first = row * width + head * 2 * half + i;
            const bool upper = column % (2 * half) >= half;
            if (head >= heads || row < 1 || row > 5) {
              ASSERT_EQ(y[row * width + column],
                        value(x[static_cast<std::size_t>(row * width + column)]));
              continue;
            }
            const auto table = static_cast<std::size_t>(row % positions * half + i);
            const double a = value(x[static_cast<std::size_t>(first)]);
            const double b = value(x[static_cast<std::size_t>(first + half)]);
            const double c = cosines[table];
            const double s = static_cast<double>(direction) * sines[table];
            const double expected = upper ? b * c + a * s : a * c - b * s;
            const double size =
                upper ? std::abs(b * c) + std::abs(a * s) : std::abs(a * c) + std::abs(b * s);
            ASSERT_NEAR(y[row * width + column], expected,
                        2 * rounding * size + storage<T> * std::abs(expected) + least_normal)
                << row << " " << column << " half " << half;
          }
        }
      }
    }
  });
}

double silu(double x) { return x / (1 + std::exp(-x)); }

// e^x is promised to 2e-7 = 3.4 roundings.
constexpr double exp_roundings = 3.4;

TEST(Rows, Swiglu) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const auto gate_up = normal<T>(3 * 2 * width, "gate_up", 4);
      Output<T> y(3 * width);
      loops.swiglu(gate_up.data(), y.data(), 3, width);
      for (std::int64_t i = 0; i < 3 * width; ++i) {
        const auto gate = static_cast<std::size_t>(i / width * 2 * width + i % width);
        const double expected =
            silu(value(gate_up[gate])) * value(gate_up[gate + static_cast<std::size_t>(width)]);
        // 1 + e, division, two products.
        const double tolerance = (exp_roundings + 4) * rounding + storage<T>;
        ASSERT_NEAR(y[i], expected, tolerance * std::abs(expected) + least_normal)
            << i << " of " << width;
      }
    }
  });
}

TEST(Rows, SwigluGradient) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const auto gate_up = normal<T>(3 * 2 * width, "gate_up", 4);
      const auto dy = normal<T>(3 * width, "dy");
      Output<T> gradient(3 * 2 * width);
      loops.swiglu_gradient(dy.data(), gate_up.data(), gradient.data(), 3, width);
      for (std::int64_t i = 0; i < 3 * width; ++i) {
        const std::int64_t gate = i / width * 2 * width + i % width;
        const auto index = static_cast<std::size_t>(gate);
        const double d = value(dy[static_cast<std::size_t>(i)]);
        std::vector<double> at{value(gate_up[index]),
                               value(gate_up[index + static_cast<std::size_t>(width)])};
        const auto loss = [&](const std::vector<double>& x) { return d * silu(x[0]) * x[1]; };
        const double dgate = slope(at, 0, loss);
        const double dup = slope(at, 1, loss);
        // The sigmoid's error appears once in itself and twice in silu (1 - sigmoid).
        const double roundings = 3 * (exp_roundings + 2) + 6;
        const double size = std::abs(d * at[1]) * (1 + std::abs(silu(at[0])));
        ASSERT_NEAR(gradient[gate], dgate,
                    roundings * rounding * size + storage<T> * std::abs(dgate) + slope_error * size)
            << i << " of " << width;
        ASSERT_NEAR(
            gradient[gate + width], dup,
            (roundings * rounding + storage<T>)*std::abs(dup) + slope_error * (1 + std::abs(d)))
            << i << " of " << width;
      }
    }
  });
}

TEST(Rows, CrossEntropyAndItsGradient) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const auto logits = normal<T>(3 * width, "logits", 3);
      const std::vector<std::int64_t> target{width / 2, 0, width - 1};
      constexpr double scale = 0.3;
      std::vector<double> losses(3);
      std::vector<double> losses_in_training(3);
      Output<T> gradient(logits);
      Output<float> scratch(width);
      loops.cross_entropy(logits.data(), target.data(), losses.data(), 3, width);
      loops.cross_entropy_gradient(gradient.data(), target.data(), scale, losses_in_training.data(),
                                   scratch.data(), 3, width);
      EXPECT_EQ(losses, losses_in_training) << "the losses of training and of evaluation differ";
      for (std::int64_t row = 0; row < 3; ++row) {
        auto x = exact(logits.data() + row * width, width);
        const auto chosen = static_cast<std::size_t>(target[static_cast<std::size_t>(row)]);
        const double peak = *std::max_element(x.begin(), x.end());
        const auto loss = [&](const std::vector<double>& at) {
          double sum = 0;
          for (const double v : at) sum += std::exp(v - peak);
          return std::log(sum) + peak - at[chosen];
        };
        // Of an exponential: its own error and that of its argument, which is below 32.
        const double term = exp_roundings + 32;
        const double tolerance = (term + sum_roundings(width)) * rounding;
        EXPECT_NEAR(losses[static_cast<std::size_t>(row)], loss(x), tolerance + 1e-13);
        for (std::int64_t i = 0; i < width; i += 1 + width / 20) {
          const double expected = scale * slope(x, i, loss);
          ASSERT_NEAR(
              gradient[row * width + i], expected,
              scale * (tolerance + term * rounding + slope_error) + storage<T> * std::abs(expected))
              << row << " " << i << " of " << width;
        }
        const auto at_target = static_cast<std::int64_t>(chosen);
        const double expected = scale * slope(x, at_target, loss);
        ASSERT_NEAR(
            gradient[row * width + at_target], expected,
            scale * (tolerance + term * rounding + slope_error) + storage<T> * std::abs(expected));
      }
    }
  });
}

TEST(Rows, TheLargestLogitMayBeAnywhere) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      // 200 above the rest: the loss is 0 or 200, and infinite if the largest is not subtracted.
      for (std::int64_t place = 0; place < width; place += 1 + width / 40) {
        std::vector<T> logits(static_cast<std::size_t>(width), element<T>(-300.0F));
        logits[static_cast<std::size_t>(place)] = element<T>(-100.0F);
        double loss = 0;
        loops.cross_entropy(logits.data(), &place, &loss, 1, width);
        ASSERT_EQ(loss, 0) << place << " of " << width;
        if (width == 1) continue;
        const std::int64_t other = (place + 1) % width;
        loops.cross_entropy(logits.data(), &other, &loss, 1, width);
        ASSERT_EQ(loss, 200) << place << " of " << width;
      }
    }
  });
}

TEST(Rows, AddToRows) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      const std::vector<std::int64_t> row{2, 0, 2, 2};
      const auto x = normal<T>(4 * width, "x");
      const auto before = normal<float>(3 * width, "table");
      for (const std::int64_t begin : {std::int64_t{0}, width / 3}) {
        const std::int64_t end = width - width / 5;
        Output<float> table(before);
        loops.add_to_rows(x.data(), row.data(), table.data(), 4, width, begin, end);
        std::vector<float> expected = before;
        for (std::size_t n = 0; n < row.size(); ++n) {
          for (std::int64_t i = begin; i < end; ++i) {
            expected[static_cast<std::size_t>(row[n] * width + i)] += static_cast<float>(
                value(x[static_cast<std::size_t>(static_cast<std::int64_t>(n) * width + i)]));
          }
        }
        for (std::int64_t i = 0; i < 3 * width; ++i) {
          ASSERT_EQ(table[i], expected[static_cast<std::size_t>(i)]) << i << " of " << width;
        }
      }
    }
  });
}

// What products of blocks need between them. Each result has a few roundings in fp32, an
// exponential 2e-7 more, and the rounding of its own type.
TEST(Rows, ScoresAreThatOfTheirFormulas) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t n : widths) {
      const auto s = normal<float>(n, "s", 3);
      const auto dp = normal<float>(n, "dp");
      const auto delta = normal<float>(n, "delta");
      constexpr float scale = 0.25F;
      EXPECT_EQ(loops.maximum(s.data(), n), *std::max_element(s.begin(), s.end()));

      const float offset = scale * *std::max_element(s.begin(), s.end());
      Output<T> p(n);
      const float sum = loops.shifted_exponentials(s.data(), scale, offset, p.data(), n);
      double expected_sum = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const double e =
            std::exp(static_cast<double>(s[static_cast<std::size_t>(i)]) * scale - offset);
        expected_sum += e;
        ASSERT_NEAR(p[i], e, e * (storage<T> + 1e-6)) << i << " of " << n;
      }
      EXPECT_NEAR(sum, expected_sum, 2e-6 * expected_sum);

      std::vector<float> log_sum;
      for (const float x : s) log_sum.push_back(scale * x + 0.5F);
      Output<T> q(n);
      Output<T> ds(n);
      loops.score_gradient(s.data(), dp.data(), scale, log_sum.data(), delta.data(), q.data(),
                           ds.data(), n);
      for (std::int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double e = std::exp(static_cast<double>(s[at]) * scale - log_sum[at]);
        const double gradient = scale * e * (static_cast<double>(dp[at]) - delta[at]);
        const double size = scale * e * (std::abs(dp[at]) + std::abs(delta[at]));
        ASSERT_NEAR(q[i], e, e * (storage<T> + 2e-6)) << i << " of " << n;
        ASSERT_NEAR(ds[i], gradient, std::abs(gradient) * storage<T> + 3e-6 * size);
      }
    }
  });
}

TEST(Rows, RowsAreScaledAddedAndMultiplied) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t n : widths) {
      const auto x = normal<float>(n, "x");
      const auto a = normal<T>(n, "a");
      const auto b = normal<T>(n, "b");
      Output<T> scaled(n);
      Output<T> sums(n);
      loops.scale(x.data(), 0.7F, scaled.data(), n);
      loops.sum(x.data(), a.data(), sums.data(), n);
      double dot = 0;
      double size = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double product = static_cast<double>(x[at]) * 0.7F;
        const double sum = x[at] + value(a[at]);
        ASSERT_NEAR(scaled[i], product, std::abs(product) * (storage<T> + 2 * rounding));
        ASSERT_NEAR(sums[i], sum, std::abs(sum) * (storage<T> + 2 * rounding));
        dot += value(a[at]) * value(b[at]);
        size += std::abs(value(a[at]) * value(b[at]));
      }
      EXPECT_NEAR(loops.dot(a.data(), b.data(), n), dot, 2e-6 * size);
    }
  });
}

TEST(Rows, NanReachesEveryResultOfItsRow) {
  for_all([]<class T>(const Loops<T>& loops, T, InstructionSet) {
    for (const std::int64_t width : widths) {
      for (const std::int64_t place : {std::int64_t{0}, width / 2, width - 1}) {
        auto x = normal<T>(3 * width, "x");
        x[static_cast<std::size_t>(width + place)] = element<T>(nan);
        const std::vector<T> gain(static_cast<std::size_t>(width), element<T>(1));
        std::vector<T> y(x.size());
        std::vector<float> inverse(3);
        loops.norm(x.data(), gain.data(), eps, y.data(), inverse.data(), 3, width);
        std::vector<double> losses(3);
        const std::vector<std::int64_t> target(3, 0);
        loops.cross_entropy(x.data(), target.data(), losses.data(), 3, width);
        for (std::size_t row = 0; row < 3; ++row) {
          EXPECT_EQ(std::isnan(inverse[row]), row == 1);
          EXPECT_EQ(std::isnan(losses[row]), row == 1) << place << " of " << width;
          EXPECT_EQ(std::isnan(value(y[row * static_cast<std::size_t>(width)])), row == 1);
        }
      }
    }
  });
}

TEST(Rows, AddAddsEveryElement) {
  const auto x = normal<float>(37, "x");
  auto y = normal<float>(37, "y");
  const auto before = y;
  add(x.data(), y.data(), 37);
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], before[i] + x[i]);
}

}  // namespace
}  // namespace penstock::kernels::rows
