#pragma once
// A run of several ranks: what rank 0 tells the others, and what they do with it.

#include <vector>

#include "checkpoint/manifest.h"
#include "config/config.h"
#include "engine/stage_state.h"
#include "ranks/group.h"

namespace penstock::train {

/// What the stages are to report beside their updates.
struct Recordings {
  bool trace = false;
  bool profile = false;
};

/// Rank 0 alone reads the command line, the configuration and the checkpoint, and prepares the
/// data first, so that the others find it in the cache. Then it tells them what to train: the
/// configuration, which data it has seen, and from where their stages go on. Called by rank 0, with
/// the states of all stages or none.
void assign_shares(ranks::Group& group, const config::Config& config,
                   const checkpoint::Identity& identity, const Recordings& recordings,
                   const std::vector<engine::StageState>& states);

/// Takes part in the run of rank 0 until that ends. Nothing is written but warnings to stderr.
/// Ctrl-C and SIGTERM ask rank 0 to end the run. Errors: the run's first failure, on whichever
/// rank.
void train_share(ranks::Group& group);

}  // namespace penstock::train
