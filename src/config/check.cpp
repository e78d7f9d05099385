#include "config/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "base/error.h"
#include "config/sections.h"

namespace penstock::config {
namespace {

// 256 bytes and the mark between documents.
constexpr std::int64_t smallest_own_vocabulary = 257;

void check_set(const ModelConfig& model) {
  const std::pair<const char*, std::int64_t> numbers[] = {
      {"layers", model.layers}, {"width", model.width}, {"heads", model.heads},
      {"ff", model.ff},         {"vocab", model.vocab}, {"seq", model.seq}};
  for (const auto& [key, value] : numbers) {
    if (value == 0) {
      throw user_error("config", "model.{} is not given; set model.preset or model.{}", key, key);
    }
  }
}

void check_model(const ModelConfig& model) {
  check_set(model);
  if (model.width % model.heads != 0) {
    throw user_error("config",
                     "model.width = {} is not a multiple of model.heads = {}; set model.width = {}",
                     model.width, model.heads, (model.width / model.heads + 1) * model.heads);
  }
  if (model.width / model.heads % 2 != 0) {
    throw user_error("config",
                     "a head's width is model.width / model.heads = {} / {} = {}, but rotary "
                     "embedding needs an even one; change model.width or model.heads",
                     model.width, model.heads, model.width / model.heads);
  }
  if (model.heads % model.kv_heads != 0) {
    throw user_error("config",
                     "model.heads = {} is not a multiple of model.kv_heads = {}; set "
                     "model.kv_heads to a divisor of {}",
                     model.heads, model.kv_heads, model.heads);
  }
}

void check_tokenizer(const Config& config) {
  const std::string& tokenizer = config.data.tokenizer;
  if (tokenizer.empty()) {
    throw user_error("config",
                     "data.tokenizer is empty; set it to \"bytes\", \"bpe\" or a tokenizer's file");
  }
  const bool own = tokenizer == "bytes" || tokenizer == "bpe";
  if (own && config.model.vocab < smallest_own_vocabulary) {
    throw user_error("config",
                     "data.tokenizer = \"{}\" has at least {} tokens (256 bytes and the document "
                     "mark), but model.vocab = {}; set model.vocab = {} or more",
                     tokenizer, smallest_own_vocabulary, config.model.vocab,
                     smallest_own_vocabulary);
  }
}

void check_partition(const Config& config) {
  const IntegerList& partition = config.pipeline.partition;
  if (partition.empty()) return;
  const std::string shown = to_toml(Value(partition));
  if (static_cast<std::int64_t>(partition.size()) != config.pieces()) {
    const std::string chunks = config.pipeline.chunks == 1
                                   ? std::string()
                                   : fmt::format(" of {} chunks each", config.pipeline.chunks);
    throw user_error(
        "config",
        "pipeline.partition = {} is for {} pieces, but pipeline.stages = {}{}; give {} "
        "numbers, in the order of the model",
        shown, partition.size(), config.pipeline.stages, chunks, config.pieces());
  }
  const std::int64_t sum = std::accumulate(partition.begin(), partition.end(), std::int64_t{0});
  if (sum != config.units()) {
    throw user_error("config",
                     "pipeline.partition = {} distributes {} units, but {} layers have {} "
                     "(embedding, attention and MLP of each layer, head); make it sum to {}",
                     shown, sum, config.model.layers, config.units(), config.units());
  }
}

void check_lone_updates(const Config& config) {
  const std::string& schedule = config.pipeline.schedule;
  if (config.train.clip > 0) {
    throw user_error("config",
                     "schedule '{}' updates every stage alone, before the whole model's gradient "
                     "norm is known, but train.clip = {}; set train.clip = 0",
                     schedule, config.train.clip);
  }
  if (config.model.tied) {
    throw user_error("config",
                     "schedule '{}' updates every stage alone, so the two copies of a tied "
                     "embedding would part, but model.tied = true; set model.tied = false",
                     schedule);
  }
}

void check_pipeline(const Config& config, const Catalogue& catalogue) {
  const PipelineConfig& pipeline = config.pipeline;
  const auto schedule = find_schedule(catalogue, pipeline.schedule);
  if (schedule) {
    const std::string complaint =
        schedule->complaint(pipeline.stages, pipeline.micro_batches, pipeline.chunks);
    if (!complaint.empty()) throw user_error("config", "{}", complaint);
    if (!schedule->updates_together) check_lone_updates(config);
  }
  if (config.pieces() > config.units()) {
    const std::string chunks =
        pipeline.chunks == 1 ? std::string() : fmt::format(" of {} chunks each", pipeline.chunks);
    throw user_error("config",
                     "pipeline.stages = {}{}, but {} layers have only {} units to distribute "
                     "(embedding, attention and MLP of each layer, head); set pipeline.stages = {} "
                     "or fewer",
                     pipeline.stages, chunks, config.model.layers, config.units(),
                     config.units() / pipeline.chunks);
  }
  check_partition(config);
}

void check_fallback(const Config& config, const Catalogue& catalogue) {
  if (!config.fallback) return;
  const ComponentSpec* spec = find_component(catalogue.optimizers, config.fallback->name);
  if (spec != nullptr && spec->takes_matrices_only) {
    throw user_error(
        "config",
        "optimizer.fallback.name = \"{}\" takes matrices only, but the fallback is for "
        "all other parameters; name an optimizer that takes every parameter",
        config.fallback->name);
  }
}

void check_groups(const Config& config) {
  for (std::size_t i = 0; i < config.groups.size(); ++i) {
    const TextList& patterns = config.groups[i].match;
    const bool some = !patterns.empty() && std::ranges::find(patterns, "") == patterns.end();
    if (some) continue;
    throw user_error("config",
                     "{0}.match = {1} has {2}; set {0}.match to patterns of parameter names, such "
                     "as \"*_proj.weight\"",
                     group_name(i), to_toml(Value(patterns)),
                     patterns.empty() ? "no pattern" : "an empty pattern");
  }
}

std::string schedules_that_stash(const Catalogue& catalogue) {
  std::vector<std::string> names;
  for (const ScheduleSpec& schedule : catalogue.schedules) {
    if (schedule.stashes_weights) names.push_back(schedule.name);
  }
  return joined(names, ", ");
}

void check_correction(const Config& config, const Catalogue& catalogue) {
  const ComponentSpec* spec = find_component(catalogue.corrections, config.correction.name);
  const auto schedule = find_schedule(catalogue, config.pipeline.schedule);
  if (spec == nullptr || !schedule || !spec->needs_seen_weights || schedule->stashes_weights)
    return;
  throw user_error("config",
                   "correction '{}' needs the weights that a gradient was taken at, but schedule "
                   "'{}' does not keep them; set pipeline.schedule to one of {}, or choose another "
                   "correction",
                   spec->name, config.pipeline.schedule, schedules_that_stash(catalogue));
}

void check_length(const Config& config) {
  const TrainConfig& train = config.train;
  if (!train.steps && !train.tokens) {
    throw user_error("config",
                     "the length of the run is not given; set train.steps or train.tokens");
  }
  if (train.steps && train.tokens) {
    throw user_error("config",
                     "train.steps = {} and train.tokens = {} are both given; remove one of them",
                     *train.steps, *train.tokens);
  }
  const std::int64_t per_update = config.tokens_per_update();
  if (train.tokens && config.updates() < 1) {
    throw user_error("config",
                     "train.tokens = {} is less than one update of micro_batches * micro_batch * "
                     "seq = {} * {} * {} = {} tokens; set train.tokens = {} or more",
                     *train.tokens, config.pipeline.micro_batches, config.pipeline.micro_batch,
                     config.model.seq, per_update, per_update);
  }
  if (config.updates() > std::numeric_limits<std::int64_t>::max() / per_update) {
    throw user_error("config",
                     "train.steps = {} updates of {} tokens are more tokens than can be counted; "
                     "set a smaller train.steps",
                     config.updates(), per_update);
  }
}

void check_sync_steps(const Config& config, const Catalogue& catalogue) {
  const PipelineConfig& pipeline = config.pipeline;
  const std::int64_t updates = config.updates();
  const std::pair<const char*, std::int64_t> numbers[] = {
      {"sync_steps", pipeline.sync_steps}, {"final_sync_steps", pipeline.final_sync_steps}};
  const auto schedule = find_schedule(catalogue, pipeline.schedule);
  for (const auto& [key, steps] : numbers) {
    if (steps == 0) continue;
    const std::string complaint =
        schedule ? schedule->complaint_about_sync_steps(pipeline.stages, pipeline.micro_batches,
                                                        pipeline.chunks)
                 : std::string();
    if (!complaint.empty()) {
      throw user_error("config", "pipeline.{} = {}, but {}; set pipeline.{} = 0", key, steps,
                       complaint, key);
    }
    if (steps > updates) {
      throw user_error("config",
                       "pipeline.{} = {} is more than the run of {} updates; set pipeline.{} = {} "
                       "or less",
                       key, steps, updates, key, updates);
    }
  }
  if (pipeline.final_sync_steps > updates - pipeline.sync_steps) {
    throw user_error("config",
                     "pipeline.sync_steps = {} and pipeline.final_sync_steps = {} are together "
                     "more than the run of {} updates; set pipeline.final_sync_steps = {} or less",
                     pipeline.sync_steps, pipeline.final_sync_steps, updates,
                     updates - pipeline.sync_steps);
  }
}

void check_decay(const Config& config) {
  const TrainConfig& train = config.train;
  const std::int64_t updates = config.updates();
  if (train.lr_schedule != LrShape::wsd) {
    if (train.decay == 0) return;
    throw user_error("config",
                     "train.decay = {} is for train.lr_schedule = \"wsd\", which is {}; set "
                     "train.decay = 0, or train.lr_schedule = \"wsd\"",
                     train.decay, to_toml(*train_options().get(train, "lr_schedule")));
  }
  if (train.decay == 0) {
    throw user_error(
        "config",
        "train.lr_schedule = \"wsd\" lowers the learning rate over the last train.decay "
        "updates, but train.decay = 0; set it to 1 or more, such as {}",
        std::max(updates / 10, std::int64_t{1}));
  }
  if (updates > 0 && train.decay > updates - train.warmup) {
    throw user_error("config",
                     "train.warmup = {} and train.decay = {} are together more than the run of {} "
                     "updates; make their sum {} or less",
                     train.warmup, train.decay, updates, updates);
  }
}

void check_momentum(const Config& config) {
  const TrainConfig& train = config.train;
  const std::int64_t updates = config.updates();
  if (updates == 0 || train.momentum_cooldown + train.momentum_warmup <= updates) return;
  throw user_error("config",
                   "train.momentum_warmup = {} and train.momentum_cooldown = {} are together more "
                   "than the run of {} updates; make their sum {} or less",
                   train.momentum_warmup, train.momentum_cooldown, updates, updates);
}

void check_train(const Config& config) {
  check_length(config);
  const std::int64_t updates = config.updates();
  if (updates > 0 && config.train.warmup > updates) {
    throw user_error(
        "config",
        "train.warmup = {} is longer than the run of {} updates; set train.warmup = {} "
        "or less",
        config.train.warmup, updates, updates);
  }
  check_decay(config);
  check_momentum(config);
  if (updates > 0 && config.data.train.empty()) {
    throw user_error("config",
                     "there is nothing to train on; set data.train to text files, folders or token "
                     "shards");
  }
}

}  // namespace

void check(const Config& config, const Catalogue& catalogue) {
  check_model(config.model);
  check_tokenizer(config);
  check_pipeline(config, catalogue);
  check_fallback(config, catalogue);
  check_groups(config);
  check_correction(config, catalogue);
  check_train(config);
  check_sync_steps(config, catalogue);
}

}  // namespace penstock::config
