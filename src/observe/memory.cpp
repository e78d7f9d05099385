#include "observe/memory.h"

#include <fstream>
#include <limits>
#include <string>

namespace penstock::observe {

std::int64_t peak_rss_bytes() {
  // getrusage would do, but its peak survives exec and so may be that of whoever started us.
  std::ifstream status("/proc/self/status");
  std::string key;
  while (status >> key) {
    if (key == "VmHWM:") {
      std::int64_t kibibytes = 0;
      return status >> kibibytes ? kibibytes * 1024 : 0;
    }
    status.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

}  // namespace penstock::observe
