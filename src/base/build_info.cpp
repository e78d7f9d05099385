#include "base/build_info.h"

#include <fmt/format.h>

#include "generated/revision.h"

namespace penstock {
namespace {

std::string compiler_name() {
#if defined(__clang__)
  return fmt::format("clang++ {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#elif defined(__GNUC__)
  return fmt::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#else
  return "unknown";
#endif
}

}  // namespace

BuildInfo build_info() {
  return {generated::version, generated::revision, generated::dirty, compiler_name()};
}

std::string revision_name(const BuildInfo& info) {
  return info.dirty ? info.revision + "-dirty" : info.revision;
}

}  // namespace penstock
