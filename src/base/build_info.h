#pragma once
// Where this program comes from.

#include <string>

namespace penstock {

/// What was compiled, and with what.
struct BuildInfo {
  std::string version;   ///< Penstock's, "0.1.0"
  std::string revision;  ///< git commit, 12 digits, or "unknown" where git did not tell
  bool dirty;            ///< tracked files differed from that commit when this was compiled
  std::string compiler;  ///< "g++ 12.2.0", "clang++ 14.0.6"
};

BuildInfo build_info();

/// The revision as one word: "0123456789ab", "0123456789ab-dirty" or "unknown".
std::string revision_name(const BuildInfo& info);

}  // namespace penstock
