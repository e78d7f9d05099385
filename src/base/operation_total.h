#pragma once
// What an OperationProfile has summed up, in a form that outlives the program's literals: for
// reports, files and other processes.

#include <cstdint>
#include <string>

#include "base/operation_profile.h"

namespace penstock {

struct OperationTotal {
  std::string part;
  std::string name;
  std::int64_t calls = 0;
  double seconds = 0;  ///< Without the operations inside of it.
  OperationWork work{};
};

}  // namespace penstock
