#include "model/stage_model.h"

#include <gtest/gtest.h>

#include "model/layout.h"
#include "model/partition.h"
#include "model/views.h"
#include "support/golden_model.h"

namespace penstock::model {
namespace {

using tests::golden_model;
using tests::GoldenModel;
using tests::relative_error;

/// One stage's part of the golden model with its flat buffers.
struct Part {
  Layout layout;
  StageModel model;
  at::Tensor weights;
  at::Tensor gradients;
  StageModel::Tape tape;

  Part(const GoldenModel& golden, const std::vector<Unit>& chain, UnitRange range,
       at::ScalarType type)
      : layout(model::layout(chain, range, golden.config.tied)),
        model(golden.config, chain, range),
        weights(at::zeros({layout.weight_count}, type)),
        gradients(at::zeros({layout.gradient_count})) {
    for (const auto& parameter : layout.parameters) {
      const bool tied_head = golden.config.tied && parameter.spec.kind == ParameterKind::head;
      const std::string name(tied_head ? embedding_name : std::string_view(parameter.spec.name));
      weight_view(parameter, weights).copy_(golden.weights.at(name));
    }
  }
};

struct Result {
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;
};

/// Forward and backward through a pipeline cut into the given numbers of units.
enum class Backward { joint, split };

Result run(const GoldenModel& golden, const std::vector<std::int64_t>& cut,
           at::ScalarType type = at::kFloat, Backward kind = Backward::joint) {
  const auto chain = units(golden.config);
  std::vector<Part> parts;
  for (const auto range : partition_from_counts(cut)) {
    parts.emplace_back(golden, chain, range, type);
  }
  at::Tensor x;
  for (auto& part : parts) {
    x = part.model.forward(x, golden.batch, weight_views(part.layout, part.weights), &part.tape);
  }
  Result result{x.item<double>(), {}};
  at::Tensor dx;
  StageModel::WeightBackward later;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    const auto weights = weight_views(part->layout, part->weights);
    const auto gradients = gradient_views(part->layout, part->gradients);
    dx = kind == Backward::joint
             ? part->model.backward(dx, golden.batch, weights, part->tape, gradients)
             : part->model.backward_input(dx, golden.batch, weights, part->tape, gradients, later);
    for (const auto& saved : part->tape) EXPECT_FALSE(saved.has_value());
  }
  for (const auto& add_gradient : later) add_gradient();
  for (const auto& part : parts) {
    for (const auto& parameter : part.layout.parameters) {
      const bool tied_head = golden.config.tied && parameter.spec.kind == ParameterKind::head;
      const std::string name(tied_head ? embedding_name : std::string_view(parameter.spec.name));
      const at::Tensor gradient = gradient_view(parameter, part.gradients).clone();
      const auto [place, fresh] = result.gradients.emplace(name, gradient);
      if (!fresh) place->second.add_(gradient);
    }
  }
  return result;
}

// fp32 rounds each product and sum to 2^-24 = 6e-8 relative. A tensor's error in the Euclidean norm
// grows like the square root of the number of roundings on the way, here some 20 operations with
// sums of at most 67 terms: sqrt(20 * 67) * 6e-8 = 2e-6. Softmax and norms pass a relative error of
// their input on up to a few times larger (these weights make sharp ones): 1e-5. A wrong eps, scale
// or rotation shows at 1e-3 and more.
constexpr double fp32_tolerance = 1e-5;

class StageModelTest : public testing::TestWithParam<bool> {};

TEST_P(StageModelTest, LogitsAreThoseOfHuggingFace) {
  const auto golden = golden_model(GetParam());
  const auto chain = units(golden.config);
  Part all(golden, chain, {0, static_cast<std::int64_t>(chain.size())}, at::kFloat);
  auto batch = golden.batch;
  batch.targets = at::Tensor();
  const auto logits = all.model.forward({}, batch, weight_views(all.layout, all.weights), nullptr);
  EXPECT_LT(relative_error(logits.view(golden.logits.sizes()), golden.logits), fp32_tolerance);
}

TEST_P(StageModelTest, LossAndGradientsAreThoseOfHuggingFace) {
  const auto golden = golden_model(GetParam());
  const Result result = run(golden, {6});
  EXPECT_NEAR(result.loss, golden.loss, fp32_tolerance * golden.loss);
  ASSERT_EQ(result.gradients.size(), golden.gradients.size());
  for (const auto& [name, gradient] : golden.gradients) {
    EXPECT_LT(relative_error(result.gradients.at(name), gradient), fp32_tolerance) << name;
  }
}

TEST_P(StageModelTest, EveryCutGivesTheSameBits) {
  const auto golden = golden_model(GetParam());
  const Result whole = run(golden, {6});
  for (const auto& cut : std::vector<std::vector<std::int64_t>>{
           {1, 5}, {2, 4}, {3, 3}, {5, 1}, {1, 1, 1, 1, 1, 1}, {2, 3, 1}}) {
    const Result parts = run(golden, cut);
    EXPECT_EQ(parts.loss, whole.loss);
    for (const auto& [name, gradient] : whole.gradients) {
      EXPECT_TRUE(at::equal(parts.gradients.at(name), gradient)) << name;
    }
  }
}

TEST_P(StageModelTest, ASplitBackwardGivesTheSameBits) {
  const auto golden = golden_model(GetParam());
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Result joint = run(golden, {3, 3}, type);
    const Result split = run(golden, {3, 3}, type, Backward::split);
    for (const auto& [name, gradient] : joint.gradients) {
      EXPECT_TRUE(at::equal(split.gradients.at(name), gradient)) << name;
    }
  }
}

TEST_P(StageModelTest, Bf16StaysWithinItsRounding) {
  // bf16 keeps 8 bits: 2^-8 = 4e-3 at most per rounding to nearest. Activations are rounded about
  // 20 times on the way through two layers and back, and weights once: sqrt(40) * 4e-3 = 2.5e-2,
  // passed on a few times larger as above. The formulas themselves are checked in fp32; here it is
  // that sums and statistics are not formed in bf16, which would cost another factor of sqrt(48).
  constexpr double bf16_tolerance = 1e-1;
  const auto golden = golden_model(GetParam());
  const Result result = run(golden, {6}, at::kBFloat16);
  EXPECT_NEAR(result.loss, golden.loss, bf16_tolerance * golden.loss);
  for (const auto& [name, gradient] : golden.gradients) {
    EXPECT_LT(relative_error(result.gradients.at(name), gradient), bf16_tolerance) << name;
  }
}

TEST_P(StageModelTest, MicroBatchesAddUpToTheBatch) {
  const auto golden = golden_model(GetParam());
  const Result whole = run(golden, {6});
  std::map<std::string, at::Tensor> sum;
  const std::int64_t seq = golden.config.seq;
  for (std::int64_t b = 0; b < golden.batch.sequences; ++b) {
    auto one = golden;
    one.batch.inputs = golden.batch.inputs.narrow(0, b * seq, seq);
    one.batch.targets = golden.batch.targets.narrow(0, b * seq, seq);
    one.batch.sequences = 1;
    for (const auto& [name, gradient] : run(one, {6}).gradients) {
      const auto [place, fresh] = sum.emplace(name, gradient);
      if (!fresh) place->second.add_(gradient);
    }
  }
  for (const auto& [name, gradient] : whole.gradients) {
    EXPECT_LT(relative_error(sum.at(name), gradient), fp32_tolerance) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(UntiedAndTied, StageModelTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "tied" : "untied"; });

}  // namespace
}  // namespace penstock::model
