#pragma once
// The configuration of a run: typed sections, read from TOML with overrides.
//
//   [model]      preset | layers, width, heads, kv_heads, ff, vocab, seq, tied, norm_eps, rope_base
//   [data]       train, val, tokenizer, val_fraction, separator, cache
//   [pipeline]   stages, schedule, chunks, micro_batches, micro_batch, partition, recompute, ...
//   [optimizer]  name and the optimizer's own options; [optimizer.fallback] likewise
//   [[optimizer.group]]  match, lr_factor, and name and options likewise; in order
//   [correction] name and the correction's own options
//   [train]      steps | tokens, lr_schedule, warmup, clip, precision, seed, threads, ...
//   [output]     dir, sample, sample_tokens, save_every
//
// Defaults, ranges and help are declared once, in config/sections.cpp and in each component's file.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/catalogue.h"
#include "config/value.h"

namespace penstock::config {

enum class Precision { fp32, bf16 };
/// What is computed again in the backward instead of being kept since the forward.
enum class Recompute { none, block, stage };
enum class DeviceKind { cpu, cuda };
/// How the learning rate goes on after the warm-up (optim/lr_schedule.h).
enum class LrShape { cosine, linear, constant, wsd };

/// The decoder's shape. After loading every number is set, from the preset or by hand.
struct ModelConfig {
  std::string preset;  ///< Empty: none.
  std::int64_t layers = 0;
  std::int64_t width = 0;     ///< Of the residual stream.
  std::int64_t heads = 0;     ///< Query heads; each is width / heads wide.
  std::int64_t kv_heads = 0;  ///< Key and value heads, shared by heads / kv_heads query heads.
  std::int64_t ff = 0;        ///< Inner width of the MLP.
  std::int64_t vocab = 0;
  std::int64_t seq = 0;  ///< Tokens of one training sequence.
  bool tied = false;     ///< The head reuses the embedding matrix.
  double norm_eps = 1e-5;
  double rope_base = 10000.0;

  bool operator==(const ModelConfig&) const = default;
};

/// Paths are relative to the working directory.
struct DataConfig {
  TextList train;         ///< Files, folders, globs or shards.
  TextList val;           ///< Empty: `val_fraction` of `train` is held out.
  std::string tokenizer;  ///< "bytes", "bpe" or a tokenizer's file.
  double val_fraction = 0;
  std::string separator;  ///< Text that ends a document inside a file; empty: a file is one.
  std::string cache;      ///< Folder of token shards; empty: the default one.

  bool operator==(const DataConfig&) const = default;
};

struct PipelineConfig {
  std::int64_t stages = 1;
  std::string schedule;            ///< A name, or the path of a grid file, from the working
                                   ///< directory or, first, from the configuration's folder.
  std::int64_t chunks = 1;         ///< Pieces of the model that each stage holds.
  std::int64_t micro_batches = 1;  ///< Per batch, that is per update.
  std::int64_t micro_batch = 1;    ///< Sequences of one micro-batch.
  IntegerList partition;           ///< Units of each piece in model order; empty: "auto".
  Recompute recompute = Recompute::none;
  std::int64_t sync_steps = 0;  ///< First updates without delay, before `schedule` takes over.
  std::int64_t final_sync_steps = 0;  ///< Last updates without delay.

  bool operator==(const PipelineConfig&) const = default;
};

/// An optimizer or a correction by name, with every option of it filled in. Its own file turns the
/// options into a struct: table.read(component.options).
struct ComponentConfig {
  std::string name;
  std::map<std::string, Value> options;

  bool operator==(const ComponentConfig&) const = default;
};

/// One [[optimizer.group]]: an optimizer for the parameters with certain names. A parameter belongs
/// to the first group that matches its name; those that no group matches go to [optimizer] or its
/// fallback (optim/routing.h).
struct OptimizerGroup {
  TextList match;        ///< Patterns of full names; * is any text, ? any character.
  double lr_factor = 1;  ///< Of the learning rate, beside the schedule.
  ComponentConfig optimizer;

  bool operator==(const OptimizerGroup&) const = default;
};

struct TrainConfig {
  std::optional<std::int64_t> steps;   ///< Updates. Exactly one of steps and tokens is set.
  std::optional<std::int64_t> tokens;  ///< Trained tokens, rounded down to whole updates.
  LrShape lr_schedule = LrShape::cosine;
  std::int64_t warmup = 0;             ///< Updates.
  std::int64_t decay = 0;              ///< Last updates of wsd; 0 in all others.
  double final_lr = 0.1;               ///< Fraction of the peak learning rate.
  std::int64_t momentum_warmup = 0;    ///< Updates; 0: none.
  std::int64_t momentum_cooldown = 0;  ///< Updates; 0: none.
  double momentum_start = 0.85;        ///< Where warm-up begins and cool-down ends.
  double clip = 1.0;                   ///< Limit of the global gradient norm; 0: off.
  Precision precision = Precision::fp32;
  DeviceKind device = DeviceKind::cpu;
  std::int64_t seed = 0;
  std::int64_t threads = 0;         ///< Of each stage; 0: cores / stages.
  std::int64_t eval_every = 0;      ///< Updates; 0: at the end only.
  std::int64_t eval_sequences = 0;  ///< Of the validation set; 0: all.
  std::int64_t skip_limit = 0;      ///< Updates skipped in a row that end the run.
  double watchdog = 0;              ///< Seconds without progress until it is reported; 0: never.

  bool operator==(const TrainConfig&) const = default;
};

struct OutputConfig {
  std::string dir;     ///< The run folder.
  std::string sample;  ///< Prompt of the text printed at the end; empty: none.
  std::int64_t sample_tokens = 0;
  std::int64_t save_every = 0;  ///< Updates between two checkpoints; 0: none.

  bool operator==(const OutputConfig&) const = default;
};

struct Config {
  ModelConfig model;
  DataConfig data;
  PipelineConfig pipeline;
  ComponentConfig optimizer;
  /// For the parameters that `optimizer` does not take; none where it takes all.
  std::optional<ComponentConfig> fallback;
  std::vector<OptimizerGroup> groups;
  ComponentConfig correction;
  TrainConfig train;
  OutputConfig output;

  /// What the reader should know but need not change (a rounded number of updates, an unused
  /// section): one line each. No part of the configuration's identity.
  std::vector<std::string> notes;

  /// micro_batches * micro_batch * seq.
  std::int64_t tokens_per_update() const;
  /// train.steps, or train.tokens / tokens_per_update() rounded down.
  std::int64_t updates() const;
  /// Units a partition distributes: embedding, attention and MLP of each layer, and final norm with
  /// head: 2 layers + 2.
  std::int64_t units() const;
  /// pipeline.stages * pipeline.chunks: consecutive parts of the model.
  std::int64_t pieces() const { return pipeline.stages * pipeline.chunks; }

  /// Compares everything but `notes`.
  friend bool operator==(const Config& a, const Config& b);
};

/// Reads `toml`, applies `overrides` ("section.key=value", the last of equal keys wins), fills in
/// presets and defaults, and checks every value and the rules between them (config/check.h).
///
/// An override's value is written as in TOML; a text needs no quotes: optimizer.name=muon,
/// train.clip=0.5, pipeline.partition=[5,13]. Groups of [[optimizer.group]] are numbered from 0:
/// optimizer.group.0.lr_factor=0.5; the number after the last one adds a group.
/// `source_name` names the text in messages ("quickstart.toml:12"), and its stem the default run
/// folder, runs/<stem>.
///
/// Errors: UserError "[config] ...", naming file and line or the override.
Config parse(std::string_view toml, std::string_view source_name,
             const std::vector<std::string>& overrides, const Catalogue& catalogue);

/// parse() of a file. Errors: also a missing or unreadable file.
Config load(const std::filesystem::path& path, const std::vector<std::string>& overrides,
            const Catalogue& catalogue);

}  // namespace penstock::config
