#pragma once
// How long-running work on data reports.

#include <functional>
#include <string_view>

namespace penstock::data {

/// Called now and then with the name of the present stage of work ("reading", "learning merges",
/// "encoding") and the part of it that is done, 0..1. May be empty.
using Progress = std::function<void(std::string_view stage, double fraction)>;

}  // namespace penstock::data
