#pragma once
// The message for a checkpoint that cannot be used.

#include <filesystem>
#include <string_view>

#include "base/error.h"

namespace penstock::checkpoint {

/// "[resume] checkpoint '...' `problem`; ...".
inline UserError damage(const std::filesystem::path& checkpoint, std::string_view problem) {
  return user_error("resume",
                    "checkpoint '{}' {}; put back what was written, or remove the folder and start "
                    "from an older checkpoint or anew",
                    checkpoint.string(), problem);
}

}  // namespace penstock::checkpoint
