#pragma once
// A timeline as a page for a browser: zoom with the wheel, drag, hover over a cell for details.

#include <string>

#include "timeline/picture.h"

namespace penstock::timeline {

/// One file that needs nothing else and no network.
std::string html(const Picture& picture, const std::string& title);

}  // namespace penstock::timeline
