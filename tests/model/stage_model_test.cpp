#include "model/stage_model.h"

#include <gtest/gtest.h>

#include "model/layout.h"
#include "model/partition.h"
#include "model/views.h"
#include "support/golden_model.h"

namespace penstock::model {
namespace {

using config::Recompute;
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
       at::ScalarType type, Recompute recompute = Recompute::none)
      : layout(model::layout(chain, range, golden.config.tied)),
        model(golden.config, chain, range, recompute),
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
  std::vector<at::Tensor> input_gradients;  // of every stage but the first, from the last on
  std::map<std::string, at::Tensor> gradients;
};

enum class Backward { joint, split };

/// Forward and backward through a pipeline cut into the given numbers of units.
Result run(const GoldenModel& golden, const std::vector<std::int64_t>& cut,
           at::ScalarType type = at::kFloat, Backward kind = Backward::joint,
           Recompute recompute = Recompute::none) {
  const auto chain = units(golden.config);
  std::vector<Part> parts;
  for (const auto range : partition_from_counts(cut)) {
    parts.emplace_back(golden, chain, range, type, recompute);
  }
  at::Tensor x;
  for (auto& part : parts) {
    x = part.model.forward(x, golden.batch, weight_views(part.layout, part.weights), &part.tape);
  }
  Result result;
  at::Tensor dx;
  StageModel::WeightBackward later;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    const auto weights = weight_views(part->layout, part->weights);
    const auto gradients = gradient_views(part->layout, part->gradients);
    dx = kind == Backward::joint
             ? part->model.backward(dx, golden.batch, weights, part->tape, gradients)
             : part->model.backward_input(dx, golden.batch, weights, part->tape, gradients, later);
    for (const auto& saved : part->tape) EXPECT_TRUE(saved.empty());
    if (dx.defined()) result.input_gradients.push_back(dx);
  }
  result.loss = x.item<double>();
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

// First, middle and last stages, cut between layers and inside of them; the whole model; an
// embedding and a head alone.
TEST_P(StageModelTest, ComputingAgainGivesTheSameBits) {
  const auto golden = golden_model(GetParam());
  const std::vector<std::vector<std::int64_t>> cuts{{6}, {3, 3}, {2, 2, 2}, {1, 4, 1}};
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const auto& cut : cuts) {
      const Result kept = run(golden, cut, type);
      ASSERT_EQ(kept.input_gradients.size(), cut.size() - 1);
      for (const auto kind : {Backward::joint, Backward::split}) {
        for (const auto recompute : {Recompute::block, Recompute::stage}) {
          const Result again = run(golden, cut, type, kind, recompute);
          EXPECT_EQ(again.loss, kept.loss);
          for (std::size_t s = 0; s < kept.input_gradients.size(); ++s) {
            EXPECT_TRUE(at::equal(again.input_gradients.at(s), kept.input_gradients[s])) << s;
          }
          for (const auto& [name, gradient] : kept.gradients) {
            EXPECT_TRUE(at::equal(again.gradients.at(name), gradient)) << name;
          }
        }
      }
    }
  }
}

// That a backward does compute again: other weights than the forward's must show.
TEST_P(StageModelTest, ComputingAgainReadsTheWeightsGivenToTheBackward) {
  const auto golden = golden_model(GetParam());
  const auto chain = units(golden.config);
  const auto gradient_of_a_query = [&](Recompute recompute) {
    Part part(golden, chain, {0, 6}, at::kFloat, recompute);
    const auto weights = weight_views(part.layout, part.weights);
    (void)part.model.forward({}, golden.batch, weights, &part.tape);
    weights[1][0].mul_(2);  // the gain in front of the first attention
    (void)part.model.backward({}, golden.batch, weights, part.tape,
                              gradient_views(part.layout, part.gradients));
    return gradient_views(part.layout, part.gradients)[1][1].norm().item<double>();
  };
  const double kept = gradient_of_a_query(Recompute::none);
  for (const auto recompute : {Recompute::block, Recompute::stage}) {
    EXPECT_GT(std::abs(gradient_of_a_query(recompute) / kept - 1), 0.05);
  }
}

TEST_P(StageModelTest, InputsAreNotWritten) {
  const auto golden = golden_model(GetParam());
  const auto chain = units(golden.config);
  const auto tokens = golden.batch.inputs.numel();
  for (const auto recompute : {Recompute::none, Recompute::block, Recompute::stage}) {
    for (const std::int64_t first : {1, 2}) {  // an attention's input, an MLP's
      Part part(golden, chain, {first, 5}, at::kFloat, recompute);
      const auto weights = weight_views(part.layout, part.weights);
      const at::Tensor x = at::linspace(-1, 1, tokens * 32).view({tokens, 32});
      const at::Tensor dy = at::linspace(1, 2, tokens * 32).view({tokens, 32});
      const at::Tensor x_before = x.clone();
      const at::Tensor dy_before = dy.clone();
      const at::Tensor y = part.model.forward(x, golden.batch, weights, &part.tape);
      const at::Tensor y_before = y.clone();
      (void)part.model.backward(dy, golden.batch, weights, part.tape,
                                gradient_views(part.layout, part.gradients));
      EXPECT_TRUE(at::equal(x, x_before));
      EXPECT_TRUE(at::equal(dy, dy_before));
      EXPECT_TRUE(at::equal(y, y_before));
    }
  }
}

// The device "meta" has shapes and types but no memory, and refuses operations with tensors of the
// CPU: nothing is made on the wrong device. It has no table look-up, so the embedding is left out.
TEST_P(StageModelTest, WorksOnTheDeviceOfItsTensors) {
  const auto golden = golden_model(GetParam());
  const auto chain = units(golden.config);
  const auto tokens = golden.batch.inputs.numel();
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto meta = at::TensorOptions(type).device(at::kMeta);
    for (const auto recompute : {Recompute::none, Recompute::block, Recompute::stage}) {
      const UnitRange range{1, 5};
      const Layout place = layout(chain, range, golden.config.tied);
      const StageModel stage(golden.config, chain, range, recompute, at::kMeta);
      const auto weights = weight_views(place, at::zeros({place.weight_count}, meta));
      const auto gradients =
          gradient_views(place, at::zeros({place.gradient_count}, meta.dtype(at::kFloat)));
      auto batch = golden.batch;
      batch.inputs = batch.inputs.to(at::kMeta);
      batch.targets = at::Tensor();
      StageModel::Tape tape;
      const at::Tensor y = stage.forward(at::zeros({tokens, 32}, meta), batch, weights, &tape);
      const at::Tensor dx = stage.backward(at::zeros_like(y), batch, weights, tape, gradients);
      for (const auto& x : {y, dx}) {
        EXPECT_TRUE(x.is_meta());
        EXPECT_EQ(x.scalar_type(), type);
        EXPECT_EQ(x.sizes(), (at::IntArrayRef{tokens, 32}));
      }
      const Layout last = layout(chain, {5, 6}, golden.config.tied);
      const StageModel head(golden.config, chain, {5, 6}, recompute, at::kMeta);
      EXPECT_TRUE(
          head.forward(y, batch, weight_views(last, at::zeros({last.weight_count}, meta)), nullptr)
              .is_meta());
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
