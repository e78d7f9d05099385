#pragma once
// The rules between options, in one place. What one option may hold is declared with the option.

#include "config/config.h"

namespace penstock::config {

/// Throws a UserError for the first rule that `config` breaks:
///   model     every number set; width = heads * even head width; heads a multiple of kv_heads;
///             room for 256 bytes and the document mark where the program makes the tokenizer
///   pipeline  micro_batches >= stages where the schedule needs it; a unit or more per stage;
///             a partition has `stages` entries that sum to the units
///   optimizer a fallback that takes every parameter; a pattern or more for each group
///   correction  weights that it needs are still there
///   train     steps or tokens, not both; tokens for an update or more; warm-up and decay of the
///             learning rate, and warm-up and cool-down of the momentum, within the run; decay
///             with wsd and only there; the number of tokens fits 63 bits; something to train on
/// What depends on the model's parameters is checked where they are known: optim/routing.h.
/// Each message gives the rule, the values and what to set.
void check(const Config& config, const Catalogue& catalogue);

}  // namespace penstock::config
