#include "engine/device.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/engine_run.h"

namespace penstock::engine {
namespace {

using tests::run_engine;
using tests::small_config;

// A program of its own: LibTorch's CUDA library is to be loaded before the first tensor.
const std::optional<at::Device>& gpu() {
  static const std::optional<at::Device> device = [] {
    try {
      return std::optional(usable_device(config::DeviceKind::cuda));
    } catch (const UserError&) {
      return std::optional<at::Device>();
    }
  }();
  return device;
}

std::vector<std::string> on(const std::string& device, int stages) {
  std::vector<std::string> overrides;
  overrides.push_back("train.device=" + device);
  overrides.push_back("pipeline.stages=" + std::to_string(stages));
  for (const char* const more :
       {"model.tied=true", "optimizer.name=muon", "correction.name=error_feedback"}) {
    overrides.emplace_back(more);
  }
  return overrides;
}

TEST(Gpu, TwoBwHasTheSameBitsOnEveryDepthAndTheLossesOfTheCpu) {
  if (!gpu()) GTEST_SKIP() << "there is no GPU";
  const auto one = run_engine(small_config(on("cuda", 1)));
  for (const int stages : {2, 3, 6}) {
    const auto run = run_engine(small_config(on("cuda", stages)));
    EXPECT_EQ(run.losses, one.losses) << stages;
    EXPECT_EQ(run.hash(), one.hash()) << stages;
  }
  const auto cpu = run_engine(small_config(on("cpu", 1)));
  ASSERT_EQ(one.losses.size(), cpu.losses.size());
  // fp32 sums in another order, over 24 updates: far below the 0.1 that the loss falls.
  for (std::size_t b = 0; b < cpu.losses.size(); ++b) {
    EXPECT_NEAR(one.losses[b], cpu.losses[b], 1e-3) << b;
  }
}

TEST(Gpu, ARunGoesOnFromACutWithTheSameBits) {
  if (!gpu()) GTEST_SKIP() << "there is no GPU";
  auto overrides = on("cuda", 3);
  overrides.emplace_back("output.save_every=7");
  const auto c = small_config(overrides);
  const auto whole = run_engine(c);
  for (const auto& [cut, states] : whole.captures) {
    EXPECT_EQ(run_engine(c, {.restore = states}).hash(), whole.hash()) << cut;
  }
}

TEST(Device, TheCpuIsAlwaysThere) {
  EXPECT_EQ(usable_device(config::DeviceKind::cpu), at::Device(at::kCPU));
  const StageStream stream(at::kCPU);
  stream.use(at::zeros({1}));
  stream.finish();
}

TEST(Device, AGpuThatIsNotThereIsOneClearError) {
  if (gpu()) GTEST_SKIP() << "there is a GPU";
  try {
    usable_device(config::DeviceKind::cuda);
    FAIL();
  } catch (const UserError& error) {
    const std::string text = error.what();
    EXPECT_TRUE(text.starts_with("[device] train.device = \"cuda\"")) << text;
    EXPECT_NE(text.find("set train.device = \"cpu\", or "), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace penstock::engine
