#pragma once
// A simulated run, for people and for programs.

#include <string>

#include "simulate/simulate.h"

namespace penstock::simulate {

/// One JSON object in one line. `seconds`: how long the simulation itself took. "stages" is their
/// number, "per_stage" the list of them, as of timeline::stage_json and in seconds of the steady
/// window; what does not exist, such as a slack without a reduction, is null. "slacks" of a
/// stage are those of the batches from 0 on, the first most_slacks / stages of them.
std::string to_json(const Request& request, const Result& result, double seconds);

/// The main figures, and one line per stage with a bar of where its time went; beyond 32 stages one
/// line per group of neighbours, with the mean of their times and the largest of their peaks. At
/// most 100 columns.
std::string to_text(const Request& request, const Result& result, double seconds);

}  // namespace penstock::simulate
