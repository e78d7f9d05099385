#pragma once
// Where LibTorch lies.

#include <filesystem>

namespace penstock::train {

/// The folder with include/ and lib/ of the LibTorch this program runs with.
std::filesystem::path torch_root();

}  // namespace penstock::train
