// The activation bytes that plans assume, against what LibTorch really allocates.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <ostream>
#include <tuple>

#include "kernels/helpers.h"
#include "model/layout.h"
#include "model/stage_model.h"
#include "model/views.h"
#include "plan/activations.h"
#include "plan/allocation_meter.h"
#include "plan/example.h"
#include "plan/workload.h"

namespace penstock::plan {
namespace {

config::ModelConfig example_model() {
  config::ModelConfig model;
  model.layers = 3;
  model.width = 64;
  model.heads = 4;
  model.kv_heads = 2;
  model.ff = 160;
  model.vocab = 300;
  model.seq = 32;
  return model;
}

constexpr std::int64_t sequences = 64;  // tokens enough that they outweigh single products
constexpr std::int64_t last_unit = 7;

Workload workload_of(config::Precision precision) {
  Workload workload;
  workload.model = example_model();
  workload.precision = precision;
  return make_workload(workload);
}

/// Bytes of one micro-batch as in PieceBytes, but for the token numbers.
struct Measured {
  double kept = 0;
  double held = 0;
  double peak = 0;  // of B or dX
};

enum class Backward { joint, split };

class Bench {
 public:
  Bench(const Workload& workload, model::UnitRange range, Recompute recompute)
      : type_(workload.precision == config::Precision::bf16 ? at::kBFloat16 : at::kFloat),
        chain_(model::units(workload.model)),
        layout_(model::layout(chain_, range, false)),
        stage_(workload.model, chain_, range, recompute),
        flat_(at::randn({layout_.weight_count}).mul_(0.1).to(type_)),
        flat_gradients_(at::zeros({layout_.gradient_count})),
        tokens_(sequences * workload.model.seq),
        first_(range.first == 0),
        last_(range.last == last_unit + 1) {
    batch_.inputs = at::zeros({tokens_}, at::kLong);
    batch_.targets = at::zeros({tokens_}, at::kLong);
    batch_.sequences = sequences;
    source_ = at::randn({tokens_, workload.model.width}).to(type_);
  }

  Measured run(Backward kind) const {
    const auto weights = model::weight_views(layout_, flat_);
    const auto gradients = model::gradient_views(layout_, flat_gradients_);
    model::StageModel::Tape tape;
    model::StageModel::WeightBackward later;
    tests::AllocationMeter meter;
    (void)stage_.forward(first_ ? at::Tensor() : source_.clone(), batch_, weights, &tape);
    Measured bytes;
    bytes.kept = static_cast<double>(meter.bytes());
    meter.restart_peak();
    at::Tensor dy = last_ ? at::Tensor() : source_.clone();
    if (kind == Backward::joint) {
      (void)stage_.backward(dy, batch_, weights, tape, gradients);
    } else {
      (void)stage_.backward_input(dy, batch_, weights, tape, gradients, later);
    }
    bytes.peak = static_cast<double>(meter.peak());
    dy.reset();
    bytes.held = static_cast<double>(meter.bytes());
    return bytes;
  }

 private:
  const at::ScalarType type_;
  const std::vector<model::Unit> chain_;
  const model::Layout layout_;
  const model::StageModel stage_;
  const at::Tensor flat_;
  const at::Tensor flat_gradients_;
  const std::int64_t tokens_;
  const bool first_;
  const bool last_;
  model::MicroBatch batch_;
  at::Tensor source_;
};

struct Case {
  model::UnitRange range;
  config::Precision precision;
  Recompute recompute;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.range.first << ".." << c.range.last << " "
       << (c.precision == config::Precision::bf16 ? "bf16" : "fp32") << " " << name(c.recompute);
}

/// What a plan says, without the token numbers.
Measured predicted(const Workload& workload, const Case& c, Backward kind) {
  Candidate one{.schedule = &schedule::find("1f1b"),
                .shape = {1, 1, 1},
                .replicas = 1,
                .micro_batch = sequences,
                .recompute = c.recompute,
                .pieces = {c.range}};
  const auto bytes = piece_bytes(workload, one, 0, 0);
  const double numbers =
      static_cast<double>(sequences * workload.model.seq) * bytes_of_token_numbers;
  return {bytes.kept - numbers, bytes.held - numbers,
          (kind == Backward::joint ? bytes.backward : bytes.input_gradient) - numbers};
}

class SavedBytes : public testing::TestWithParam<Case> {
 protected:
  SavedBytes() { c10::GradMode::set_enabled(false); }

  const tests::Threads one_{1};  // each thread of a kernel has buffers of its own
};

// Kept is exact, but for scalars and closures: 1 byte a token. The peak is of the larger tensors:
// statistics, the kernels' own buffers and what is freed an instant earlier make up the rest.
TEST_P(SavedBytes, AreWhatAForwardKeepsAndABackwardTakes) {
  const Case c = GetParam();
  const auto workload = workload_of(c.precision);
  const double a_byte_each = static_cast<double>(sequences * workload.model.seq);
  const Bench bench(workload, c.range, c.recompute);
  for (const auto kind : {Backward::joint, Backward::split}) {
    const Measured actual = bench.run(kind);
    const Measured plan = predicted(workload, c, kind);
    EXPECT_NEAR(actual.kept, plan.kept, a_byte_each);
    EXPECT_NEAR(actual.peak, plan.peak, 0.05 * plan.peak);
    if (kind == Backward::joint) {
      EXPECT_LE(actual.held, a_byte_each);
    } else {
      // The head does not hold its input, nor does any unit its statistics.
      EXPECT_LE(actual.held, plan.held + a_byte_each);
      EXPECT_GE(actual.held, 0.8 * plan.held);
    }
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto precision : {config::Precision::fp32, config::Precision::bf16}) {
    for (const auto recompute : {Recompute::none, Recompute::block, Recompute::stage}) {
      // Single units; a first, a middle and a last stage; one cut inside of layers; everything.
      for (const model::UnitRange range : {model::UnitRange{0, 1},
                                           {1, 2},
                                           {2, 3},
                                           {7, 8},
                                           {0, 3},
                                           {1, 5},
                                           {5, 8},
                                           {2, 6},
                                           {0, 8}}) {
        all.push_back({range, precision, recompute});
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Stages, SavedBytes, testing::ValuesIn(cases()));

TEST(SavedBytesTest, RecomputationKeepsLess) {
  c10::GradMode::set_enabled(false);
  const auto workload = workload_of(config::Precision::fp32);
  const auto run = [&](model::UnitRange range, Recompute recompute) {
    return Bench(workload, range, recompute).run(Backward::joint);
  };
  // Two layers in the middle keep two inputs, then one, of 64 fp32 numbers a token.
  const model::UnitRange middle{1, 5};
  const double input = static_cast<double>(sequences * 32 * 64 * 4);
  const auto none = run(middle, Recompute::none);
  EXPECT_GT(none.kept, 20 * input);
  EXPECT_EQ(run(middle, Recompute::block).kept, 2 * input);
  EXPECT_EQ(run(middle, Recompute::stage).kept, 1 * input);
  // A block at a time also lowers the peak, a stage at a time does not.
  EXPECT_LT(run(middle, Recompute::block).peak, 0.7 * none.peak);
  EXPECT_NEAR(run(middle, Recompute::stage).peak, none.peak, 0.01 * none.peak);
  // The first stage needs nothing but the tokens.
  EXPECT_EQ(run({0, 3}, Recompute::block).kept, 0);
  EXPECT_EQ(run({0, 3}, Recompute::stage).kept, 0);
}

}  // namespace
}  // namespace penstock::plan
