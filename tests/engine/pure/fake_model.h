#pragma once
// A model that needs no tensors: everything is an integer, so that two ways to train it must agree
// to the last bit.
//
// The model is a chain of layers, each with a weight w. A micro-batch begins as x = sample() + the
// tied weight; every layer makes 2 x + w of it; the result + the tied weight is the output, whose
// share of the batch's loss is loss_of(). The output is also the gradient g that goes back through
// the layers: 3 g + w each, so that every version that is read shows in the result. An update adds
// to each weight what its gradients say and the floor of the batch's global gradient norm. The tied
// weight has a copy at both ends; each is updated from the sum of both ends' gradients. How the
// chain is cut into pieces changes nothing.

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace penstock::tests {

using Payload = std::int64_t;

inline constexpr Payload modulus = 1'000'003;
inline constexpr std::size_t tied_size = 4;
using TiedGradient = std::array<float, tied_size>;

inline Payload sample(std::int64_t batch, std::int64_t micro_batch) {
  return (batch * 7919 + micro_batch * 104'729 + 1) % modulus;
}
inline Payload validation_sample(std::int64_t micro_batch) { return sample(1, micro_batch) + 3; }
inline Payload forward_through(Payload x, Payload weight) { return (2 * x + weight) % modulus; }
inline Payload backward_through(Payload g, Payload weight) { return (3 * g + weight) % modulus; }
inline Payload weight_gradient(Payload x, Payload g) { return g * (x % 1009 + 1) % modulus; }
/// The gradient takes part in the global norm as this: small enough for sums without rounding.
inline double norm_part(Payload gradient) { return static_cast<double>(gradient % 1000); }
inline double loss_of(Payload output) { return static_cast<double>(output % 101); }

/// What a micro-batch adds to the tied weight's gradient at the model's first and last layer.
inline void add_tied_input(TiedGradient& sum, Payload g) {
  for (std::size_t i = 0; i < tied_size; ++i) {
    sum[i] += static_cast<float>((g + static_cast<Payload>(i)) % 97);
  }
}
inline void add_tied_output(TiedGradient& sum, Payload g) {
  for (std::size_t i = 0; i < tied_size; ++i) {
    sum[i] += static_cast<float>((g + static_cast<Payload>(i)) % 89);
  }
}

inline Payload next_weight(Payload weight, Payload gradient, int layer, std::int64_t norm) {
  return (weight + gradient * (layer + 2) + norm + 1) % modulus;
}
template <class Gradient>
Payload next_tied(Payload weight, const Gradient& gradient) {
  const auto sum = std::accumulate(gradient.begin(), gradient.end(), 0.0F);
  return (weight + static_cast<Payload>(sum) + 1) % modulus;
}
inline std::int64_t whole(double norm) { return static_cast<std::int64_t>(std::floor(norm)); }

struct FakeWeights {
  std::vector<Payload> layers;
  Payload tied_input = 5;
  Payload tied_output = 5;
  friend bool operator==(const FakeWeights&, const FakeWeights&) = default;
};

inline Payload first_weight(int layer) { return layer + 1; }

/// Something in a batch that is not finite.
struct Poison {
  enum class In { gradient, loss, tied_input, tied_output };
  std::int64_t batch = 0;
  int layer = 0;  // of a gradient
  In in = In::gradient;
  double value = std::numeric_limits<double>::quiet_NaN();
};

struct FakeModel {
  int layers = 1;
  std::vector<Poison> poisons;
};

/// The layers of a piece of the model: as even as they go.
struct LayerRange {
  int first = 0;
  int end = 0;
};
inline LayerRange layers_of(int piece, int pieces, int layers) {
  return {piece * layers / pieces, (piece + 1) * layers / pieces};
}

}  // namespace penstock::tests
