#pragma once
// What the tests of row loops share: every loop runs in the code of every instruction set of this
// processor, in fp32 and bf16, against double precision.

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
#include "kernels/rows.h"

namespace penstock::kernels::rows {

inline constexpr double rounding = 0x1p-24;
inline constexpr float infinity = std::numeric_limits<float>::infinity();
inline constexpr float nan = std::numeric_limits<float>::quiet_NaN();
// Around one, two and four vectors of every instruction set; 257 makes groups of three rows.
inline constexpr std::int64_t widths[] = {1, 3, 15, 16, 17, 63, 64, 65, 257, 1000};
inline constexpr std::int64_t rows_of_each = 19;  // more than are reduced at once

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
inline constexpr double storage = std::is_same_v<T, float> ? 0 : 1.01 * 0x1p-8;
inline constexpr double least_normal = 0x1p-126;

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
inline double sum_roundings(std::int64_t n) { return static_cast<double>(n) / 16 + 18; }

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
inline double slope(std::vector<double>& x, std::int64_t i,
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
inline constexpr double slope_error = 1e-9;

template <class T>
std::vector<double> exact(const T* values, std::int64_t n) {
  std::vector<double> result;
  for (std::int64_t i = 0; i < n; ++i) result.push_back(value(values[i]));
  return result;
}

inline constexpr double eps = 1e-5;
// e^x is promised to 2e-7 = 3.4 roundings.
inline constexpr double exp_roundings = 3.4;

}  // namespace penstock::kernels::rows
