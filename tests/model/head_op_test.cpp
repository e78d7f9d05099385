#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "kernels/helpers.h"
#include "model/head_chunks.h"
#include "model/unit_op.h"

namespace penstock::model {
namespace {

using tests::normal;
using tests::random_tokens;
using tests::variable;

// So many logits that the head works on several chunks of rows, the last of them smaller.
constexpr std::int64_t vocabulary = 16384;
constexpr std::int64_t width = 8;
constexpr std::int64_t tokens = 600;

config::ModelConfig wide_head() {
  config::ModelConfig model;
  model.layers = 1;
  model.width = width;
  model.heads = 1;
  model.kv_heads = 1;
  model.ff = 16;
  model.vocab = vocabulary;
  model.seq = tokens;
  model.norm_eps = 1e-5;
  return model;
}

struct Outcome {
  double loss;
  at::Tensor dx, dgain, dweight;
};

class HeadOp : public testing::TestWithParam<at::ScalarType> {
 protected:
  at::ScalarType type = GetParam();
  at::Tensor x = normal({tokens, width}, "x", 1, type);
  at::Tensor gain = normal({width}, "gain", 1, type);
  at::Tensor weight = normal({vocabulary, width}, "weight", 0.5, type);
  MicroBatch batch{.inputs = {},
                   .targets = random_tokens(tokens, vocabulary, "targets"),
                   .gradient_scale = 1.0 / tokens};

  /// `later`: the matrix' gradient is added after everything else, as zero bubble does.
  Outcome run(bool later) const {
    const auto op = head_op(wide_head());
    const UnitTensors weights{gain, weight};
    const UnitTensors gradients{at::zeros({width}), at::zeros({vocabulary, width})};
    UnitTensors saved;
    const at::Tensor loss = op->forward(x, batch, weights, &saved);
    EXPECT_TRUE(loss.isnan().item<bool>()) << "known too early";
    std::vector<std::function<void()>> tasks;
    const at::Tensor dx = op->backward({}, batch, weights, saved, gradients,
                                       [&](auto task) { later ? tasks.push_back(task) : task(); });
    if (later) {
      EXPECT_GE(tasks.size(), 1u);
    }
    for (const auto& task : tasks) task();
    return {loss.item<double>(), dx, gradients[0], gradients[1]};
  }
};

TEST_P(HeadOp, ChunksOfRowsAreOneMicroBatch) {
  ASSERT_LT(head_chunk_rows(vocabulary, c10::elementSize(type), Logits::in_panels), tokens);
  const at::Tensor input = variable(x);
  const at::Tensor g = variable(gain);
  const at::Tensor w = variable(weight);
  const at::Tensor r = (input.square().mean(1, true) + 1e-5).rsqrt();
  const at::Tensor logits = at::matmul(input * r * g, w.t());
  const at::Tensor loss =
      (at::logsumexp(logits, 1) - logits.gather(1, batch.targets.unsqueeze(1)).squeeze(1)).mean();
  loss.backward();
  // In bf16 the normed rows, logits' gradients and results are rounded; in fp32 sums have some
  // hundred terms.
  const double tolerance = type == at::kBFloat16 ? 4 * tests::bf16_rounding : 1e-5;
  const Outcome outcome = run(false);
  EXPECT_NEAR(outcome.loss, loss.item<double>(), tolerance * loss.item<double>());
  const at::Tensor evaluated = head_op(wide_head())->forward(x, batch, {gain, weight}, nullptr);
  EXPECT_NEAR(evaluated.item<double>(), outcome.loss, 1e-6 * outcome.loss);
  EXPECT_LT(tests::norm_error(outcome.dx, input.grad()), tolerance);
  EXPECT_LT(tests::norm_error(outcome.dgain, g.grad()), tolerance);
  EXPECT_LT(tests::norm_error(outcome.dweight, w.grad()), tolerance);
}

TEST_P(HeadOp, APostponedWeightGradientIsTheSame) {
  const Outcome at_once = run(false);
  const Outcome later = run(true);
  EXPECT_EQ(at_once.loss, later.loss);
  EXPECT_TRUE(tests::same_bits(at_once.dx, later.dx));
  EXPECT_TRUE(tests::same_bits(at_once.dweight, later.dweight));
}

INSTANTIATE_TEST_SUITE_P(Types, HeadOp, testing::Values(at::kFloat, at::kBFloat16));

}  // namespace
}  // namespace penstock::model
