#include "train/language_model.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/golden_model.h"

namespace penstock::train {
namespace {

using testing::HasSubstr;
using tests::golden_model;
using Weights = std::map<std::string, at::Tensor>;

constexpr std::uint32_t no_stop = 1U << 30;

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

std::string error_with(const Weights& weights) {
  return error_of([&] { LanguageModel(golden_model(false).config, weights); });
}

class LanguageModelTied : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Both, LanguageModelTied, testing::Bool());

TEST_P(LanguageModelTied, LogitsAreThoseOfHuggingFace) {
  const auto golden = golden_model(GetParam());
  const LanguageModel model(golden.config, golden.weights);
  const at::Tensor logits = model.logits(golden.batch.inputs.view({3, 16}));
  ASSERT_EQ(logits.sizes(), golden.logits.sizes());
  // About 15 roundings of 2^-24 one after the other, each sum of up to 48 products taking sqrt(48)
  // of them: 15 * 7 * 6e-8 = 6e-6.
  EXPECT_LT(tests::relative_error(logits, golden.logits), 6e-6);
}

TEST_P(LanguageModelTied, ShorterSequencesAndOtherBatchesSeeTheSame) {
  const auto golden = golden_model(GetParam());
  const LanguageModel model(golden.config, golden.weights);
  const at::Tensor tokens = golden.batch.inputs.view({3, 16});
  const at::Tensor part = model.logits(tokens.slice(0, 1, 2).slice(1, 0, 5));
  EXPECT_LT(tests::relative_error(part, golden.logits.slice(0, 1, 2).slice(1, 0, 5)), 6e-6);
}

TEST(LanguageModel, KeepsItsOwnWeights) {
  const auto golden = golden_model(false);
  const LanguageModel model(golden.config, golden.weights);
  for (const auto& [name, tensor] : golden.weights) at::Tensor(tensor).zero_();
  EXPECT_LT(tests::relative_error(model.logits(golden.batch.inputs.view({3, 16})), golden.logits),
            6e-6);
}

TEST(LanguageModel, MissingTensor) {
  auto weights = golden_model(false).weights;
  weights.erase("model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(error_with(weights),
            "[weights] 'model.layers.1.mlp.up_proj.weight' is missing; give the weights of the "
            "configured model");
}

TEST(LanguageModel, MisshapenTensor) {
  auto weights = golden_model(false).weights;
  const std::string name = "model.layers.0.self_attn.k_proj.weight";
  weights[name] = weights[name].t().contiguous();
  EXPECT_EQ(error_with(weights), "[weights] '" + name +
                                     "' has shape [32, 16], the configured model needs [16, 32]; "
                                     "give weights and configuration of the same model");
}

TEST(LanguageModel, AdditionalTensor) {
  auto weights = golden_model(false).weights;
  weights["model.layers.2.mlp.up_proj.weight"] = at::zeros({48, 32});
  EXPECT_EQ(error_with(weights),
            "[weights] 22 tensors are given, the configured model has 21; give weights and "
            "configuration of the same model");
}

TEST(LanguageModel, ATiedModelHasNoHeadOfItsOwn) {
  const auto golden = golden_model(true);
  auto weights = golden.weights;
  weights["lm_head.weight"] = weights.at("model.embed_tokens.weight");
  EXPECT_THAT(error_of([&] { LanguageModel(golden.config, weights); }),
              HasSubstr("21 tensors are given, the configured model has 20"));
}

class SampleTest : public testing::Test {
 protected:
  // The model is too small to share out.
  static void SetUpTestSuite() { at::set_num_threads(1); }

  std::vector<std::uint32_t> draw(const Sampling& sampling, std::vector<std::uint32_t> prompt,
                                  std::uint32_t stop = no_stop) const {
    return sample(model_, golden_.config.seq, std::move(prompt), stop, sampling);
  }

  /// The logits behind the last of these tokens.
  at::Tensor logits_after(const std::vector<std::uint32_t>& tokens) const {
    const std::vector<std::int64_t> ids(tokens.begin(), tokens.end());
    return model_.logits(at::tensor(ids, at::kLong).view({1, -1}))[0][-1];
  }

  const tests::GoldenModel golden_ = golden_model(false);
  const LanguageModel model_{golden_.config, golden_.weights};
};

TEST_F(SampleTest, KeepsThePromptAndAddsAsManyTokensAsAsked) {
  const auto ids = draw({.tokens = 7}, {3, 1, 4});
  ASSERT_EQ(ids.size(), 10U);
  EXPECT_EQ((std::vector<std::uint32_t>{ids.begin(), ids.begin() + 3}),
            (std::vector<std::uint32_t>{3, 1, 4}));
  EXPECT_EQ(draw({.tokens = 0}, {3}), std::vector<std::uint32_t>{3});
}

TEST_F(SampleTest, TemperatureZeroIsTheMostLikelyToken) {
  const auto ids = draw({.tokens = 10, .temperature = 0, .seed = 1}, {5});
  for (std::size_t i = 1; i < ids.size(); ++i) {
    const auto likely = logits_after({ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(i)});
    EXPECT_EQ(ids[i], static_cast<std::uint32_t>(likely.argmax().item<std::int64_t>())) << i;
  }
  EXPECT_EQ(draw({.tokens = 10, .temperature = 0, .seed = 2}, {5}), ids);
}

TEST_F(SampleTest, TheBestOneAloneIsTheMostLikelyToken) {
  const auto likely = draw({.tokens = 10, .temperature = 0}, {5});
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const Sampling sampling{.tokens = 10, .temperature = 3, .top_k = 1, .seed = seed};
    EXPECT_EQ(draw(sampling, {5}), likely);
  }
}

TEST_F(SampleTest, IsAFunctionOfTheSeed) {
  const Sampling one{.tokens = 20, .temperature = 1, .seed = 1};
  const Sampling two{.tokens = 20, .temperature = 1, .seed = 2};
  EXPECT_EQ(draw(one, {5}), draw(one, {5}));
  EXPECT_NE(draw(one, {5}), draw(two, {5}));
}

TEST_F(SampleTest, StopsBeforeTheStop) {
  const Sampling sampling{.tokens = 10, .temperature = 0};
  const auto whole = draw(sampling, {5});
  std::size_t place = 1;  // the first token that is new in the text
  while (std::count(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(place),
                    whole[place]) > 0) {
    ++place;
  }
  const auto cut = draw(sampling, {5}, whole[place]);
  EXPECT_EQ(cut, (std::vector<std::uint32_t>{whole.begin(),
                                             whole.begin() + static_cast<std::ptrdiff_t>(place)}));
  // The stop in the prompt ends nothing: it is where a text starts.
  EXPECT_EQ(draw({.tokens = 1, .temperature = 0}, {5}, 5).size(), 2U);
}

TEST_F(SampleTest, SeesTheLastTokensAloneOfALongText) {
  std::vector<std::uint32_t> prompt;
  for (std::uint32_t i = 0; i < 20; ++i) prompt.push_back(i * 7 % 67);
  const std::vector<std::uint32_t> end(prompt.end() - 16, prompt.end());
  const Sampling sampling{.tokens = 8, .temperature = 0};
  const auto long_text = draw(sampling, prompt);
  const auto short_text = draw(sampling, end);
  ASSERT_EQ(long_text.size(), 28U);
  EXPECT_EQ((std::vector<std::uint32_t>{long_text.begin() + 20, long_text.end()}),
            (std::vector<std::uint32_t>{short_text.begin() + 16, short_text.end()}));
  EXPECT_EQ(long_text[20],
            static_cast<std::uint32_t>(logits_after(end).argmax().item<std::int64_t>()));
}

/// Compares how often each token comes first under many seeds with `expected`, by Pearson's
/// chi-square over the tokens expected 5 times or more and all others together.
void expect_drawn(const std::vector<std::uint32_t>& drawn, const at::Tensor& expected) {
  const auto n = static_cast<double>(drawn.size());
  std::vector<double> counts(static_cast<std::size_t>(expected.numel()), 0.0);
  for (const auto id : drawn) counts[id] += 1;
  double chi_square = 0;
  int cells = 0;
  double rest_expected = 0;
  double rest_drawn = 0;
  const auto add = [&](double count, double mean) {
    chi_square += (count - mean) * (count - mean) / mean;
    ++cells;
  };
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double mean = n * expected[static_cast<std::int64_t>(i)].item<double>();
    if (mean == 0) {
      EXPECT_EQ(counts[i], 0) << i;
    } else if (mean < 5) {
      rest_expected += mean;
      rest_drawn += counts[i];
    } else {
      add(counts[i], mean);
    }
  }
  if (rest_expected >= 5) add(rest_drawn, rest_expected);
  ASSERT_GT(cells, 3);
  // Mean k and variance 2 k with k degrees of freedom: six deviations are chance below 1e-6 (the
  // tail of a chi-square is heavier than a normal's, whose six deviations are 1e-9).
  const double k = cells - 1;
  EXPECT_LT(chi_square, k + 6 * std::sqrt(2 * k));
}

TEST_F(SampleTest, DrawsFollowTheSoftmaxAtTheTemperature) {
  for (const double temperature : {0.5, 1.0, 2.0}) {
    std::vector<std::uint32_t> drawn;
    for (std::uint64_t seed = 0; seed < 2000; ++seed) {
      drawn.push_back(
          draw({.tokens = 1, .temperature = temperature, .top_k = 0, .seed = seed}, {5}).back());
    }
    expect_drawn(drawn, (logits_after({5}).to(at::kDouble) / temperature).softmax(0));
  }
}

TEST_F(SampleTest, DrawsAreOfTheBestOnesOnly) {
  const auto [values, indices] = logits_after({5}).to(at::kDouble).topk(6);
  at::Tensor expected = at::zeros({67}, at::kDouble);
  expected.index_copy_(0, indices, values.softmax(0));
  std::vector<std::uint32_t> drawn;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    drawn.push_back(draw({.tokens = 1, .temperature = 1, .top_k = 6, .seed = seed}, {5}).back());
  }
  expect_drawn(drawn, expected);
}

TEST_F(SampleTest, EveryDrawIsANewOne) {
  // At this temperature all of the best six are alike, so a draw used twice has the same rank.
  const auto ids = draw({.tokens = 15, .temperature = 1e6, .top_k = 6}, {5});
  std::set<std::int64_t> ranks;
  for (std::size_t i = 1; i < ids.size(); ++i) {
    const at::Tensor logits =
        logits_after({ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(i)});
    ranks.insert((logits > logits[ids[i]]).sum().item<std::int64_t>());
  }
  // Fewer than three ranks in 15 draws have chance 15 (2/6)^15 = 1e-6.
  EXPECT_GE(ranks.size(), 3U);
  EXPECT_LT(*ranks.rbegin(), 6);
}

TEST_F(SampleTest, MoreThanAllAreAll) {
  const Sampling all{.tokens = 20, .temperature = 1, .top_k = 0, .seed = 4};
  const Sampling more{.tokens = 20, .temperature = 1, .top_k = 1000, .seed = 4};
  EXPECT_EQ(draw(all, {5}), draw(more, {5}));
}

}  // namespace
}  // namespace penstock::train
