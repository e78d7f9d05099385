#include "engine/device.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace penstock::engine {
namespace {

TEST(Device, TheCpuIsAlwaysThere) {
  EXPECT_EQ(usable_device(config::DeviceKind::cpu), at::Device(at::kCPU));
  const StageStream stream(at::kCPU);
  stream.use(at::zeros({1}));
  stream.finish();
}

TEST(Device, AGpuThatIsNotThereIsOneClearError) {
  try {
    const auto device = usable_device(config::DeviceKind::cuda);
    EXPECT_TRUE(device.is_cuda());
    GTEST_SKIP() << "there is a GPU";
  } catch (const UserError& error) {
    const std::string text = error.what();
    EXPECT_TRUE(text.starts_with("[device] train.device = \"cuda\"")) << text;
    EXPECT_NE(text.find("set train.device = \"cpu\", or "), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace penstock::engine
