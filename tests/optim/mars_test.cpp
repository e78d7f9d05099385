#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "optim/trajectory.h"

namespace penstock::optim {
namespace {

using tests::average;
using tests::History;
using tests::optimizer;
using tests::Path;
using tests::Problem;

const std::vector<tests::Shape> matrices{{167, 101}, {7, 301}, {33, 33}, {1, 1501}};

/// The gradients that the base sees: they depend on no weights.
Problem corrected(Problem problem, double beta1, double gamma = 0.025, double limit = 1) {
  const at::Tensor g = problem.gradients.to(at::kDouble);
  std::vector<at::Tensor> all;
  for (std::int64_t k = 0; k < Problem::updates; ++k) {
    const double b = problem.momentum(k).value_or(beta1);
    const at::Tensor previous = k == 0 ? at::zeros_like(g[0]) : g[k - 1];
    at::Tensor c = g[k] + gamma * b / (1 - b) * (g[k] - previous);
    const double norm = std::sqrt((c * c).sum().item<double>());
    if (norm > limit) c = c / norm;
    all.push_back(c);
  }
  problem.gradients = at::stack(all);
  return problem;
}

double adamw(const History& h, double beta2) {
  const auto t = static_cast<double>(h.g.size());
  const double square = average(tests::squares(h.g), beta2) / (1 - std::pow(beta2, t));
  return h.lr * average(h.g, h.momentum) / (1 - tests::product(h.momentum)) /
         (std::sqrt(square) + 1e-8);
}

double sign_of_average(const History& h) { return h.lr * tests::sign_of(average(h.g, h.momentum)); }

void expect_matrices_follow(const std::string& base, double (*update)(const History&)) {
  const auto mars = optimizer("mars", {{"base", base}});
  for (const bool schedule : {false, true}) {
    for (const auto& shape : matrices) {
      const Problem problem(shape, schedule);
      const at::Tensor expected = tests::transcribed(
          corrected(problem, 0.95), {.optimizer = "mars", .momentum = 0.95, .update = update});
      for (const Path path : {Path::sweep, Path::tensors, Path::parts, Path::doubles}) {
        EXPECT_LT(tests::worst_error(tests::run(problem, *mars, 0.1, path), expected),
                  path == Path::doubles ? tests::fp64_tolerance : tests::fp32_tolerance)
            << base << " " << shape << ", " << tests::name_of(path) << schedule;
      }
    }
  }
}

TEST(Mars, MatricesFollowTheTranscriptionOnAdamW) {
  expect_matrices_follow("adamw", [](const History& h) { return adamw(h, 0.99); });
}

TEST(Mars, MatricesFollowTheTranscriptionOnLion) {
  expect_matrices_follow("lion", sign_of_average);
}

TEST(Mars, VectorsGetAdamWWhoseMomentumStopsAtItsOwn) {
  for (const char* base : {"adamw", "lion"}) {
    const auto mars = optimizer("mars", {{"base", std::string(base)}});
    for (const bool schedule : {false, true}) {
      const Problem problem({1027}, schedule);
      const tests::Transcription rule{
          .optimizer = "mars", .momentum = 0.9, .update = [](const History& h) {
            History own = h;
            for (double& b : own.momentum) b = std::min(b, 0.9);
            return adamw(own, 0.95);
          }};
      const at::Tensor expected = tests::transcribed(problem, rule);
      for (const Path path : {Path::sweep, Path::tensors, Path::doubles}) {
        EXPECT_LT(tests::worst_error(tests::run(problem, *mars, 0.1, path), expected),
                  path == Path::doubles ? tests::fp64_tolerance : tests::fp32_tolerance)
            << base << ", " << tests::name_of(path) << schedule;
      }
    }
  }
}

TEST(Mars, TheReferenceSeesLimitAndChange) {
  // negative controls: without the limit, and without the change, it is another trajectory
  const Problem problem({7, 301});
  const at::Tensor actual = tests::run(problem, *optimizer("mars"), 0.1, Path::doubles);
  const tests::Transcription rule{
      .optimizer = "mars", .momentum = 0.95, .update = [](auto& h) { return adamw(h, 0.99); }};
  const auto error = [&](const Problem& seen) {
    return tests::worst_error(actual, tests::transcribed(seen, rule));
  };
  EXPECT_GT(error(corrected(problem, 0.95, 0.025, 1e30)), 1e-2);
  EXPECT_GT(error(corrected(problem, 0.95, 0)), 1e-3);
  EXPECT_LT(error(corrected(problem, 0.95)), tests::fp64_tolerance);
}

TEST(Mars, TheLimitIsThatOfTheWholeTensorAndCountsTheScale) {
  // |c| = 0.5 * 1.475 * 5 > 1 for g = (3, 4), first update: c = (0.6, 0.8)
  const auto mars = optimizer("mars");
  at::Tensor weight = at::zeros({1, 2});
  const auto none = tests::correction("none");
  const auto average_after = [&](double scale) {
    State state = mars->init(weight);
    const at::Tensor g = at::tensor({3.0F, 4.0F}).view({1, 2});
    const auto sweep = mars->sweep(g, scale, state, {.step = 1, .lr = 0.1});
    const at::Tensor scaled = g * scale;
    at::Tensor u = at::empty({2});
    const float* in = scaled.const_data_ptr<float>();
    std::vector<float*> states;
    for (const auto& tensor : sweep->states) states.push_back(tensor.mutable_data_ptr<float>());
    sweep->rule->run(&in, states.data(), u.mutable_data_ptr<float>(), 2);
    return state.tensors.at("m");
  };
  EXPECT_TRUE(at::allclose(average_after(0.5), at::tensor({0.03F, 0.04F}).view({1, 2}), 1e-6, 0));
  // below the limit: c = 1.475 * 0.1 * (3, 4)
  EXPECT_TRUE(
      at::allclose(average_after(0.1), at::tensor({0.022125F, 0.0295F}).view({1, 2}), 1e-6, 0));
}

TEST(Mars, ACorrectedGradientIsWhatItLooksAt) {
  // dc_asgd changes the gradient before, from (3, 4) to (3 + 9, 4): a sweep that took the norm of
  // the gradient it was given would divide by another one.
  const auto mars = optimizer("mars");
  const auto dc_asgd = tests::correction("dc_asgd", {{"lambda", 1.0}});
  at::Tensor weight = at::tensor({2.0F, 1.0F}).view({1, 2});
  engine::ParameterUpdater updater(*mars, *dc_asgd, 0, weight);
  updater.apply({.values = at::tensor({3.0F, 4.0F}).view({1, 2}), .seen = at::ones({1, 2})},
                {.step = 1, .lr = 0.1}, {weight, weight});
  const at::Tensor direction = at::tensor({12.0F, 4.0F}) / std::sqrt(160.0F);
  const at::Tensor m = updater.optimizer_state().tensors.at("m").view({2});
  EXPECT_TRUE(at::allclose(m, 0.05 * direction, 1e-6, 0)) << m;
}

TEST(Mars, ThreadsDoNotChangeBits) {
  const int before = at::get_num_threads();
  const Problem problem({167, 101});
  std::map<int, at::Tensor> results;
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    results[threads] = tests::run(problem, *optimizer("mars"), 0.1, Path::sweep);
  }
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(results.at(1), results.at(2)));
}

TEST(Mars, EveryOptionIsUsed) {
  tests::expect_uses("mars", {},
                     {{"base", std::string("lion")},
                      {"beta1", 0.9},
                      {"beta2", 0.9},
                      {"eps", 1e-4},
                      {"gamma", 0.05}});
  tests::expect_uses("mars", {{"base", std::string("lion")}}, {{"beta1", 0.5}, {"gamma", 5.0}});
  const Problem vector({31});
  const auto end = [&](const tests::Options& options) {
    return tests::run(vector, *optimizer("mars", options), 0.1, Path::doubles);
  };
  for (const char* key : {"vector_beta1", "vector_beta2"}) {
    EXPECT_GT(tests::worst_error(end({{key, 0.5}}), end({})), 1e-3) << key;
  }
  EXPECT_GT(tests::worst_error(end({{"eps", 1e-3}}), end({})), 1e-5);
}

TEST(Mars, DefaultsAreThoseOfItsAuthors) {
  const auto options = tests::component(registry(), "mars", {}).options;
  EXPECT_EQ(options.at("beta1"), config::Value(0.95));
  EXPECT_EQ(options.at("beta2"), config::Value(0.99));
  EXPECT_EQ(options.at("gamma"), config::Value(0.025));
  EXPECT_EQ(options.at("lr"), config::Value(3e-3));
}

TEST(Mars, StateBytesPerParameterAndContinuesWithTheSameBits) {
  const auto mars = optimizer("mars");
  const auto lion = optimizer("mars", {{"base", std::string("lion")}});
  const at::Tensor matrix = at::ones({5, 7});
  const at::Tensor vector = at::ones({5});
  EXPECT_EQ(tests::state_bytes_per_element(mars->init(matrix), matrix), 12);
  EXPECT_EQ(tests::state_bytes_per_element(lion->init(matrix), matrix), 8);
  EXPECT_EQ(tests::state_bytes_per_element(mars->init(vector), vector), 8);
  for (const tests::Shape& shape : {tests::Shape{33, 33}, tests::Shape{33}}) {
    tests::expect_continues(*mars, *tests::correction("error_feedback"), shape);
    tests::expect_continues(*lion, *tests::correction("none"), shape);
  }
}

TEST(Mars, PassesNanOn) {
  tests::expect_nan_passes_on(*optimizer("mars"));
  State state = optimizer("mars")->init(at::ones({1, 3}));
  const at::Tensor g = at::tensor({1.0F, std::nanf(""), 2.0F}).view({1, 3});
  const at::Tensor u = optimizer("mars")->update(g, state, {.step = 1, .lr = 0.1});
  EXPECT_TRUE(u[0][1].isnan().item<bool>());
}

TEST(Mars, RefusesOptionsOutOfRange) {
  EXPECT_THROW(optimizer("mars", {{"gamma", -1.0}}), UserError);
  EXPECT_THROW(optimizer("mars", {{"beta1", 1.0}}), UserError);
  EXPECT_THROW(optimizer("mars", {{"base", std::string("muon")}}), UserError);
}

}  // namespace
}  // namespace penstock::optim
