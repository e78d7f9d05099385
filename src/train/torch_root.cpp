#include "train/torch_root.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <stdexcept>

namespace penstock::train {

std::filesystem::path torch_root() {
  Dl_info info{};
  const auto* symbol = reinterpret_cast<const void*>(&at::set_num_threads);
  if (dladdr(symbol, &info) == 0 || info.dli_fname == nullptr) {
    throw std::runtime_error("the loader does not tell where LibTorch lies");
  }
  return std::filesystem::path(info.dli_fname).parent_path().parent_path();
}

}  // namespace penstock::train
