#pragma once
// Where a run's steps went, as shares of what this machine can do.

#include <cstdint>
#include <optional>
#include <vector>

#include "config/config.h"
#include "engine/stage_profile.h"
#include "observe/step_profile.h"

namespace penstock::train {

/// Errors: UserError where a run that goes on from `cut` is too short for a profile, or does not
/// compute on the processor.
void check_profile(const config::Config& config, std::int64_t cut);

/// Measures the bounds under the conditions of the run, which takes about two seconds: products of
/// its precision and copies, on as many stages of this host at once as its cores hold. None where
/// the run ended before every stage had a profile.
std::optional<observe::StepProfile> run_profile(const std::vector<engine::StageProfile>& stages,
                                                const config::Config& config, int stages_on_host);

}  // namespace penstock::train
