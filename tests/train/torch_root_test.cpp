#include "train/torch_root.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace penstock::train {
namespace {

namespace fs = std::filesystem;

TEST(TorchRoot, HoldsTheLibraryAndItsHeaders) {
  const fs::path root = torch_root();
  EXPECT_TRUE(root.is_absolute()) << root;
  EXPECT_TRUE(fs::exists(root / "lib" / "libtorch_cpu.so")) << root;
  EXPECT_TRUE(fs::is_directory(root / "include" / "ATen")) << root;
}

}  // namespace
}  // namespace penstock::train
