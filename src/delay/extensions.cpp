#include "delay/extensions.h"

namespace penstock::delay {

std::vector<Entry> extensions() { return {}; }

}  // namespace penstock::delay
