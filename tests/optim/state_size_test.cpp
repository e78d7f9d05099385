#include "optim/state_size.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "base/error.h"
#include "config/example_catalogue.h"
#include "optim/helpers.h"

namespace penstock::optim {
namespace {

const std::vector<std::vector<std::int64_t>> shapes = {{5, 5}, {3, 8}, {8, 3}, {1, 6}, {7}};

// AdamW keeps two tensors and two numbers, the products of its betas.
constexpr std::int64_t adamw_numbers = 2 * 8;

TEST(StateBytes, AreThoseOfRealStatesForEveryOptimizer) {
  for (const auto& entry : registry()) {
    const auto made = tests::optimizer(entry.spec.name);
    for (const auto& shape : shapes) {
      if (entry.spec.takes_matrices_only && shape.size() != 2) continue;
      EXPECT_EQ(state_bytes(*made, shape), bytes(made->init(at::zeros(shape))))
          << entry.spec.name << " " << shape_text(shape);
    }
  }
}

TEST(StateBytes, AreThoseOfRealStatesForEveryCorrection) {
  for (const auto& entry : delay::registry()) {
    const auto made = tests::correction(entry.spec.name);
    const StateMaker init = [&](const at::Tensor& weight) { return made->init(weight); };
    for (const auto& shape : shapes) {
      EXPECT_EQ(state_bytes(init, shape), bytes(made->init(at::zeros(shape))))
          << entry.spec.name << " " << shape_text(shape);
    }
  }
}

TEST(StateBytes, TakeNoMemoryThemselves) {
  const std::int64_t side = 1 << 20;
  EXPECT_EQ(state_bytes(*tests::optimizer("adamw"), {side, side}), 8 * side * side + adamw_numbers);
}

TEST(StateBytes, CountTensorsAndNumbers) {
  EXPECT_EQ(bytes({}), 0);
  EXPECT_EQ(bytes({.tensors = {{"a", at::zeros({3, 2})}, {"b", at::zeros({4}, at::kBFloat16)}},
                   .numbers = {{"c", 1.0}}}),
            24 + 8 + 8);
}

TEST(StateOf, FollowsTheRoutes) {
  const auto config = config::parse(
      "model.preset = 'nano'\ndata.train = 'a'\ntrain.steps = 1\noptimizer.name = 'muon'",
      "run.toml", {"optimizer.group.0.match=head", "optimizer.group.0.name=muon"},
      config::example_catalogue());
  // The catalogue's optimizers have names and the options "lr" and "weight_decay" of real ones, but
  // the rest differs, so real ones are made from their defaults.
  config::Config real = config;
  real.optimizer.options.clear();
  real.fallback->options.clear();
  real.groups[0].optimizer.options.clear();
  const std::vector<ParameterInfo> parameters = {
      {.name = "embedding", .shape = {9, 4}},
      {.name = "matrix", .shape = {4, 6}, .is_block_matrix = true},
      {.name = "gain", .shape = {4}, .is_gain = true},
      {.name = "head", .shape = {9, 4}}};
  const auto states =
      state_of(real, parameters, route(real, parameters, config::example_catalogue().optimizers));
  ASSERT_EQ(states.size(), 4u);
  EXPECT_EQ(states[0].optimizer, "adamw");
  EXPECT_EQ(states[0].bytes, 2 * 4 * 36 + adamw_numbers);
  EXPECT_EQ(states[1].optimizer, "muon");
  EXPECT_EQ(states[1].bytes, 4 * 24);
  EXPECT_EQ(states[2].bytes, 2 * 4 * 4 + adamw_numbers);
  EXPECT_EQ(states[3].bytes, 4 * 36) << "of the same shape as the embedding, but in a group";
  EXPECT_EQ(states[3].name, "head");
  EXPECT_THROW((void)state_of(real, parameters, {}), std::logic_error);
}

std::string error_of(const std::vector<ParameterState>& states, std::int64_t other,
                     std::int64_t memory) {
  try {
    require_state_fits(states, other, memory);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(RequireStateFits, UpToTheLastByte) {
  const std::vector<ParameterState> states = {{"a", "adamw", {2, 3}, 48}, {"b", "soap", {5}, 52}};
  EXPECT_EQ(error_of(states, 100, 200), "no error");
  EXPECT_NE(error_of(states, 100, 199), "no error");
  EXPECT_NE(error_of(states, 101, 200), "no error");
  EXPECT_EQ(error_of({}, 100, 1), "no error") << "not for want of memory for the states";
}

TEST(RequireStateFits, SaysWhatItWouldTake) {
  const std::int64_t gib = std::int64_t{1} << 30;
  EXPECT_EQ(
      error_of({{"x", "adamw", {64}, gib / 2},
                {"y.weight", "soap", {4096, 50000}, 7 * gib},
                {"z", "soap", {8, 8}, 5 * gib}},
               3 * gib / 2, 8 * gib),
      "[config] the optimizers' state takes 12.50 GiB (soap 12.00 GiB, adamw 512.00 MiB; most "
      "of it 'y.weight' of shape 4096 x 50000: 7.00 GiB) and everything else of a run at "
      "least 1.50 GiB, but there are 8.00 GiB of memory; route large matrices to an optimizer "
      "with less state by [[optimizer.group]] (penstock optimizers lists what each takes), or "
      "use a smaller model");
}

}  // namespace
}  // namespace penstock::optim
