#include "optim/extensions.h"

namespace penstock::optim {

std::vector<Entry> extensions() { return {}; }

}  // namespace penstock::optim
