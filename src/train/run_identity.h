#pragma once
// What makes a run this run, so that it goes on from its own checkpoints only.

#include "checkpoint/manifest.h"
#include "config/config.h"
#include "data/corpus.h"

namespace penstock::train {

/// configuration: every key of [model], [pipeline], [optimizer], [optimizer.fallback], [correction]
///   and [train] but train.skip_limit and train.watchdog, "section.key": the value as TOML. A grid
///   file counts by its content, wherever it lies.
/// data: numbers of tokens, vocabulary, entropy, and a hash over windows of tokens spread over the
///   training and the validation part (all tokens of small ones), wherever the files lie.
/// origin: versions of program and LibTorch, processor, threads per stage.
/// Errors: UserError for a grid file that cannot be read.
checkpoint::Identity identity_of(const config::Config& config, const data::Prepared& data);

/// The configuration's part alone.
std::map<std::string, std::string> configuration_identity(const config::Config& config);

/// Refuses another configuration than the checkpoint's, naming a key that differs with both values.
/// `run`: the run folder. Errors: UserError "[resume]".
void require_same_configuration(const std::filesystem::path& run,
                                const checkpoint::Identity& checkpoint,
                                const std::map<std::string, std::string>& configuration);

/// Refuses other tokens than those of the checkpoint's run. Errors: UserError "[resume]".
void require_same_data(const checkpoint::Identity& checkpoint, const checkpoint::Identity& now);

/// A line for each thing of the origin that is not as it was: results may differ in the last bits.
std::vector<std::string> notes_on_origin(const checkpoint::Identity& checkpoint,
                                         const checkpoint::Identity& now);

}  // namespace penstock::train
