#pragma once
// The data of a run: opened, cut into sequences, handed to the stages as micro-batches.

#include <cstdint>

#include "config/config.h"
#include "data/corpus.h"
#include "engine/micro_batch_source.h"

namespace penstock::train {

/// Everything read-only and shared by the stages. Thread-safe.
class RunData {
 public:
  /// Opens or tokenizes what [data] names; "{torch}" in a path stands for LibTorch's folder.
  /// `progress` is called while text is tokenized. Errors: UserError "[data]".
  RunData(const config::Config& config, const data::Progress& progress);

  const data::Prepared& prepared() const { return prepared_; }
  /// Sequences of one epoch.
  std::int64_t training_sequences() const;
  /// Sequences and micro-batches of one evaluation; 0 without validation data.
  std::int64_t validation_sequences() const { return validation_sequences_; }
  std::int64_t validation_micro_batches() const;

  /// Sources that read this object's data, which must outlive them.
  engine::SourceFactory source_factory() const;

 private:
  const config::Config& config_;
  data::Prepared prepared_;
  std::int64_t validation_sequences_ = 0;
};

}  // namespace penstock::train
