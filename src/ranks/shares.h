#pragma once
// Which rank has which stages.

#include "engine/ranks.h"
#include "ranks/environment.h"

namespace penstock::ranks {

/// Consecutive stages, as equal in number as can be. Errors: UserError where there are more ranks
/// than stages.
engine::Ranks::Share stages_of_rank(int rank, int ranks, int stages);
int rank_of_stage(int stage, int ranks, int stages);
/// Of all ranks on the same host.
engine::Ranks::Share stages_of_host(const Environment& environment, int stages);

}  // namespace penstock::ranks
