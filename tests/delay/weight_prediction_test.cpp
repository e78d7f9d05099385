#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::delay {
namespace {

using tests::correction;
using tests::optimizer;
using tests::Problem;

struct Way {
  std::vector<at::Tensor> weights;  // after each update
  std::vector<at::Tensor> ahead;
};

/// Fixed gradients in double precision, with decay.
Way run(const optim::Optimizer& rule, const Correction& correction, double decay,
        const std::vector<std::int64_t>& delays) {
  const Problem problem({7, 11});
  at::Tensor weight = problem.weight.to(at::kDouble);
  engine::ParameterUpdater updater(rule, correction, decay, weight);
  Way result;
  for (std::int64_t k = 0; k < Problem::updates; ++k) {
    updater.apply({.values = problem.gradients[k].to(at::kDouble),
                   .delay = delays[static_cast<std::size_t>(k) % delays.size()]},
                  problem.moment(k), {weight, weight});
    result.weights.push_back(weight.clone());
    engine::StageState state;
    updater.capture(state, "", "w");
    const auto ahead = state.tensors.find("correction.ahead.w");
    if (ahead != state.tensors.end()) result.ahead.push_back(ahead->second);
  }
  return result;
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

TEST(WeightPrediction, TheSlotsAreAheadOfThePlainIterationByTheLastUpdates) {
  // With gradients that do not depend on the weights, W = y + a is the run without correction,
  // whatever the delays and with decay; and a is s times its last update.
  const std::vector<std::int64_t> delays{0, 1, 1, 3, 0, 2, 1};
  for (const char* name : {"adamw", "sgd", "adan"}) {
    const auto rule = optimizer(name);
    // SGD's coupled decay would make the gradient depend on the weights
    const double decay = rule->couples_weight_decay() ? 0 : 0.1;
    const Way plain = run(*rule, *correction("none"), decay, delays);
    const Way predicted =
        run(*rule, *correction("weight_prediction", {{"horizon", 0.75}}), decay, delays);
    const Problem problem({7, 11});
    for (std::size_t k = 0; k < plain.weights.size(); ++k) {
      EXPECT_LT(difference(predicted.weights[k] + predicted.ahead[k], plain.weights[k]), 1e-13)
          << name << ", update " << k;
      const at::Tensor before = k == 0 ? problem.weight.to(at::kDouble) : plain.weights[k - 1];
      const double keep =
          rule->keep({.lr = problem.lr(static_cast<std::int64_t>(k)), .weight_decay = decay});
      const at::Tensor u = before * keep - plain.weights[k];
      const double s = 0.75 * static_cast<double>(delays[k % delays.size()]);
      EXPECT_LT((predicted.ahead[k] - s * u).norm().item<double>(),
                1e-13 * before.norm().item<double>())
          << name << ", update " << k;
    }
  }
}

TEST(WeightPrediction, IsErrorFeedbackWhereNothingDecays) {
  const auto rule = optimizer("adamw");
  const auto worst = [&](double horizon, double lambda, double decay) {
    const Way predicted =
        run(*rule, *correction("weight_prediction", {{"horizon", horizon}}), decay, {1});
    const Way repaid = run(*rule, *correction("error_feedback", {{"lambda", lambda}}), decay, {1});
    double result = 0;
    for (std::size_t k = 0; k < repaid.weights.size(); ++k) {
      result = std::max(result, difference(predicted.weights[k], repaid.weights[k]));
    }
    return result;
  };
  EXPECT_LT(worst(1, 1, 0), 1e-13);
  EXPECT_LT(worst(0.5, 0.5, 0), 1e-13);
  EXPECT_GT(worst(1, 0.5, 0), 1e-3);
  EXPECT_GT(worst(1, 1, 0.1), 1e-5) << "decay shrinks what is ahead";
}

TEST(WeightPrediction, StepsByHand) {
  const auto prediction = correction("weight_prediction", {{"horizon", 2.0}});
  optim::State state = prediction->init(at::zeros({1}));
  const auto step = [&](float u, std::int64_t delay, double keep) {
    return prediction->step(at::tensor({u}), state, {.delay = delay, .keep = keep}).item<float>();
  };
  EXPECT_EQ(step(1, 0, 0.5), 1) << "nothing is late";
  EXPECT_EQ(step(1, 1, 0.5), 3) << "u + 2 u";
  EXPECT_EQ(step(4, 1, 0.5), 11) << "4 + 8 - 0.5 * 2";
  EXPECT_EQ(step(1, 3, 1), -1) << "1 + 6 - 8";
  EXPECT_EQ(step(1, 0, 0.5), -2) << "1 + 0 - 3: the weights themselves again";
  EXPECT_EQ(step(1, 0, 0.5), 1);
}

TEST(WeightPrediction, HorizonZeroIsNoCorrectionBitForBit) {
  const auto rule = optimizer("adamw");
  const auto zero = correction("weight_prediction", {{"horizon", 0.0}});
  const Problem problem({7, 301});
  EXPECT_TRUE(at::equal(tests::run(problem, *rule, 0.1, tests::Path::sweep, zero.get()),
                        tests::run(problem, *rule, 0.1, tests::Path::sweep)));
}

TEST(WeightPrediction, KeepsFourBytesPerParameterAndContinuesWithTheSameBits) {
  const auto prediction = correction("weight_prediction");
  const at::Tensor weight = at::ones({3, 5});
  EXPECT_EQ(tests::state_bytes_per_element(prediction->init(weight), weight), 4);
  tests::expect_continues(*optimizer("adan"), *prediction, {33, 33});
}

TEST(WeightPrediction, RefusesANegativeHorizon) {
  EXPECT_THROW(correction("weight_prediction", {{"horizon", -1.0}}), UserError);
}

}  // namespace
}  // namespace penstock::delay
