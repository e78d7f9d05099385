#include "config/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

#include "config/document.h"
#include "config/presets.h"

namespace penstock::config {
namespace {

// Bounds that no run reaches, so that products of them stay within 63 bits.
constexpr double many = 1e6;
constexpr double very_many = 1e12;

const char* const from_preset = "from the preset";

template <class Spec>
std::vector<std::string> names_of(const std::vector<Spec>& specs) {
  std::vector<std::string> names;
  for (const Spec& spec : specs) names.push_back(spec.name);
  return names;
}

template <class Section>
SectionView view_struct(std::string_view name, Section& section, OptionTable<Section> table) {
  SectionView view;
  view.name = name;
  view.options = table.specs();
  view.set = [&section, table](std::string_view key, const Value& value) {
    table.set(section, key, value);
  };
  view.get = [&section, table](std::string_view key) { return table.get(section, key); };
  return view;
}

SectionView view_model(ModelConfig& model) {
  SectionView view = view_struct("model", model, model_options());
  const ModelConfig* preset = find_preset(model.preset);
  if (preset == nullptr) return view;
  for (OptionSpec& spec : view.options) {
    if (spec.key != "preset") spec.default_value = model_options().get(*preset, spec.key);
  }
  return view;
}

OptionSpec name_option(const std::vector<ComponentSpec>& known, std::string help) {
  OptionSpec spec = declare(OptionType::choice, "name", std::move(help));
  spec.choices = names_of(known);
  if (!known.empty()) spec.default_value = known.front().name;
  return spec;
}

/// Options as far as the values tell: for a component that the catalogue lacks.
std::vector<OptionSpec> guessed_options(const ComponentConfig& component) {
  std::vector<OptionSpec> options;
  for (const auto& [key, value] : component.options) {
    options.push_back(declare(OptionType::text, key, ""));
  }
  return options;
}

SectionView view_component(std::string_view name, std::string_view role, ComponentConfig& component,
                           const std::vector<ComponentSpec>& known) {
  SectionView view;
  view.name = name;
  view.owner = fmt::format("{} '{}'", role, component.name);
  view.options = {name_option(known, fmt::format("which {} to use", role))};
  const ComponentSpec* spec = find_component(known, component.name);
  const std::vector<OptionSpec> own = spec ? spec->options : guessed_options(component);
  view.options.insert(view.options.end(), own.begin(), own.end());
  view.set = [&component](std::string_view key, const Value& value) {
    if (key == "name") {
      component.name = std::get<std::string>(value);
    } else {
      component.options.insert_or_assign(std::string(key), value);
    }
  };
  view.get = [&component](std::string_view key) -> std::optional<Value> {
    if (key == "name") return Value(component.name);
    const auto found = component.options.find(std::string(key));
    return found == component.options.end() ? std::nullopt : std::optional<Value>(found->second);
  };
  return view;
}

/// Makes the value of `key` in `source` the default of the option with this key.
void inherit(SectionView& view, const std::string& key, const ComponentConfig& source) {
  const auto found = source.options.find(key);
  if (found == source.options.end()) return;
  for (OptionSpec& spec : view.options) {
    if (spec.key == key) spec.default_value = found->second;
  }
}

/// inherited_options(), where both optimizers mean the same by them.
void inherit_rate(SectionView& view, const std::string& optimizer, const ComponentConfig& source,
                  const Catalogue& catalogue) {
  for (const std::string& name : {optimizer, source.name}) {
    const ComponentSpec* spec = find_component(catalogue.optimizers, name);
    if (spec != nullptr && spec->has_own_lr_scale) return;
  }
  for (const std::string& key : inherited_options()) inherit(view, key, source);
}

SectionView view_fallback(Config& config, const Catalogue& catalogue) {
  if (!config.fallback) throw std::logic_error("this configuration has no [optimizer.fallback]");
  SectionView view =
      view_component("optimizer.fallback", "optimizer", *config.fallback, catalogue.optimizers);
  inherit_rate(view, config.fallback->name, config.optimizer, catalogue);
  return view;
}

/// Whether [optimizer.fallback] gets parameters. It is there until everything is read.
bool uses_fallback(const Config& config, const Catalogue& catalogue) {
  const ComponentSpec* spec = find_component(catalogue.optimizers, config.optimizer.name);
  return config.fallback && spec != nullptr && spec->takes_matrices_only;
}

void inherit_in_group(SectionView& view, const std::string& optimizer, const Config& config,
                      const Catalogue& catalogue) {
  const bool is_fallback = uses_fallback(config, catalogue) && optimizer == config.fallback->name;
  if (optimizer != config.optimizer.name && !is_fallback) {
    inherit_rate(view, optimizer, config.optimizer, catalogue);
    return;
  }
  const ComponentConfig& source =
      optimizer == config.optimizer.name ? config.optimizer : *config.fallback;
  for (const auto& [key, value] : source.options) inherit(view, key, source);
}

OptionTable<OptimizerGroup> own_group_options() {
  OptionTable<OptimizerGroup> table;
  table
      .text_list("match", &OptimizerGroup::match,
                 "patterns of parameter names; * is any text, ? any character")
      .real("lr_factor", &OptimizerGroup::lr_factor, 1.0, Range::at_least(0),
            "multiplies the learning rate; 0 leaves the parameters as they are");
  return table;
}

SectionView view_group(std::size_t number, Config& config, const Catalogue& catalogue) {
  OptimizerGroup& group = config.groups.at(number);
  SectionView own = view_struct(group_name(number), group, own_group_options());
  SectionView view = view_component(own.name, "optimizer", group.optimizer, catalogue.optimizers);
  inherit_in_group(view, group.optimizer.name, config, catalogue);
  for (OptionSpec& spec : view.options) {
    if (spec.key == "name") spec.default_value = config.optimizer.name;
  }
  view.owner = "a group with " + view.owner;
  view.options.insert(view.options.begin(), own.options.begin(), own.options.end());
  view.set = [own, component = view.set](std::string_view key, const Value& value) {
    own.find(key) != nullptr ? own.set(key, value) : component(key, value);
  };
  view.get = [own, component = view.get](std::string_view key) {
    return own.find(key) != nullptr ? own.get(key) : component(key);
  };
  return view;
}

/// All groups as one section, whose keys begin with the group's number.
SectionView view_groups(Config& config, const Catalogue& catalogue) {
  SectionView all;
  all.name = list_section;
  std::map<std::string, std::pair<SectionView, std::string>, std::less<>> keys;
  for (std::size_t i = 0; i < config.groups.size(); ++i) {
    const SectionView group = view_group(i, config, catalogue);
    for (OptionSpec spec : group.options) {
      const std::string key = fmt::format("{}.{}", i, spec.key);
      keys.emplace(key, std::pair(group, spec.key));
      spec.key = key;
      all.options.push_back(std::move(spec));
    }
  }
  const auto place_of = [keys](std::string_view key) { return keys.find(key)->second; };
  all.set = [place_of](std::string_view key, const Value& value) {
    const auto& [group, own_key] = place_of(key);
    group.set(own_key, value);
  };
  all.get = [place_of](std::string_view key) {
    const auto& [group, own_key] = place_of(key);
    return group.get(own_key);
  };
  return all;
}

}  // namespace

OptionTable<ModelConfig> model_options() {
  std::vector<std::string> names = {""};
  for (const ModelConfig& preset : presets()) names.push_back(preset.preset);
  const Range size = Range::between(1, many);
  OptionTable<ModelConfig> table;
  table
      .choice("preset", &ModelConfig::preset, "", names,
              "a model's name; the other keys override its numbers")
      .derived_integer("layers", &ModelConfig::layers, from_preset, size, "decoder layers")
      .derived_integer("width", &ModelConfig::width, from_preset, size,
                       "width of the residual stream")
      .derived_integer("heads", &ModelConfig::heads, from_preset, size,
                       "query heads; width / heads is the width of one")
      .derived_integer("kv_heads", &ModelConfig::kv_heads, "from the preset, else heads", size,
                       "key and value heads; heads is a multiple of it")
      .derived_integer("ff", &ModelConfig::ff, from_preset, size, "inner width of the MLP")
      .derived_integer("vocab", &ModelConfig::vocab, from_preset, Range::between(1, 1e9),
                       "size of the vocabulary")
      .derived_integer("seq", &ModelConfig::seq, from_preset, size, "tokens of a sequence")
      .flag("tied", &ModelConfig::tied, false, "the head reuses the embedding matrix")
      .real("norm_eps", &ModelConfig::norm_eps, 1e-5, Range::above(0),
            "added to the mean square in RMSNorm")
      .real("rope_base", &ModelConfig::rope_base, 10000.0, Range::above(0),
            "base of the rotary embedding's wavelengths");
  return table;
}

OptionTable<DataConfig> data_options() {
  OptionTable<DataConfig> table;
  table
      .text_list("train", &DataConfig::train,
                 "training text or token shards: files, folders or globs")
      .text_list("val", &DataConfig::val, "validation data; without it a part of train is held out")
      .text("tokenizer", &DataConfig::tokenizer, "bytes",
            "\"bytes\", \"bpe\" (trained on train with model.vocab entries) or a tokenizer's file")
      .real("val_fraction", &DataConfig::val_fraction, 0.01, Range::below(0, 1),
            "part of train held out for validation where val is empty")
      .text("separator", &DataConfig::separator, "",
            "text between two documents of a file; empty: each file is one document")
      .text("cache", &DataConfig::cache, "",
            "folder for token shards; empty: chosen by the program");
  return table;
}

OptionTable<PipelineConfig> pipeline_options(const Catalogue& catalogue) {
  std::vector<std::string> schedules = names_of(catalogue.schedules);
  // A catalogue without schedules serves for printing, where nothing is chosen.
  if (schedules.empty()) schedules.emplace_back();
  const std::string first = schedules.front();
  OptionTable<PipelineConfig> table;
  table.integer("stages", &PipelineConfig::stages, 1, Range::between(1, many), "pipeline stages")
      .choice_or_file("schedule", &PipelineConfig::schedule, first, schedules,
                      std::string(grid_suffix), "order of the work and the weights it sees")
      .derived_integer("chunks", &PipelineConfig::chunks, "as the schedule needs",
                       Range::between(1, many), "pieces of the model that each stage holds")
      .integer("micro_batches", &PipelineConfig::micro_batches, 1, Range::between(1, many),
               "micro-batches of a batch, that is of an update")
      .integer("micro_batch", &PipelineConfig::micro_batch, 1, Range::between(1, many),
               "sequences of a micro-batch")
      .integer_list("partition", &PipelineConfig::partition, "auto", Range::between(1, many),
                    "units of each piece in model order, such as [5, 13]; auto balances their cost")
      .choice("recompute", &PipelineConfig::recompute, Recompute::none,
              {{"none", Recompute::none}, {"block", Recompute::block}, {"stage", Recompute::stage}},
              "keep only the inputs of blocks, or of stages, until the backward and compute the "
              "rest again; the same bits for less memory")
      .integer("sync_steps", &PipelineConfig::sync_steps, 0, Range::between(0, very_many),
               "first updates that are made without delay, before the schedule takes over")
      .integer("final_sync_steps", &PipelineConfig::final_sync_steps, 0,
               Range::between(0, very_many), "last updates that are made without delay");
  return table;
}

OptionTable<TrainConfig> train_options() {
  OptionTable<TrainConfig> table;
  table
      .integer("steps", &TrainConfig::steps, Range::between(0, very_many),
               "updates; 0 writes the initial weights; either steps or tokens")
      .integer("tokens", &TrainConfig::tokens, Range::at_least(1),
               "tokens to train on, rounded down to whole updates; either steps or tokens")
      .choice("lr_schedule", &TrainConfig::lr_schedule, LrShape::cosine,
              {{"cosine", LrShape::cosine},
               {"linear", LrShape::linear},
               {"constant", LrShape::constant},
               {"wsd", LrShape::wsd}},
              "how the learning rate falls from its peak to final_lr; constant: not at all; wsd: "
              "stays at the peak and falls linearly over the last updates, as many as decay says")
      .integer("warmup", &TrainConfig::warmup, 0, Range::between(0, very_many),
               "updates over which the learning rate rises to its peak")
      .integer("decay", &TrainConfig::decay, 0, Range::between(0, very_many),
               "last updates, over which the learning rate of wsd falls; for wsd only")
      .real("final_lr", &TrainConfig::final_lr, 0.1, Range::between(0, 1),
            "learning rate at the end, as a fraction of the peak; constant does not use it")
      .integer("momentum_warmup", &TrainConfig::momentum_warmup, 0, Range::between(0, very_many),
               "updates over which the optimizers' momentum rises from momentum_start to their "
               "own; 0 is off")
      .integer("momentum_cooldown", &TrainConfig::momentum_cooldown, 0,
               Range::between(0, very_many),
               "last updates, over which it falls to momentum_start again; 0 is off")
      .real("momentum_start", &TrainConfig::momentum_start, 0.85, Range::below(0, 1),
            "a momentum that is not above it stays as it is")
      .real("clip", &TrainConfig::clip, 1.0, Range::at_least(0),
            "limit of the global gradient norm; 0 is off")
      .choice("precision", &TrainConfig::precision, Precision::fp32,
              {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}},
              "of the computation; weights and optimizer state are always fp32")
      .choice("device", &TrainConfig::device, DeviceKind::cpu,
              {{"cpu", DeviceKind::cpu}, {"cuda", DeviceKind::cuda}},
              "where the stages compute; cuda: all on one GPU, each on a stream of its own")
      .integer("seed", &TrainConfig::seed, 0, Range::at_least(0),
               "of the initial weights and of the order of the data")
      .integer("threads", &TrainConfig::threads, 0, Range::between(0, 1024),
               "threads of each stage; 0 is cores / stages")
      .integer("eval_every", &TrainConfig::eval_every, 0, Range::between(0, very_many),
               "updates between two evaluations; 0 evaluates at the end only")
      .integer("eval_sequences", &TrainConfig::eval_sequences, 64, Range::between(0, very_many),
               "sequences of the validation set in an evaluation; 0 is all")
      .integer("skip_limit", &TrainConfig::skip_limit, 10, Range::between(1, many),
               "updates in a row skipped for a NaN or an infinity after which the run fails")
      .real("watchdog", &TrainConfig::watchdog, 60.0, Range::at_least(0),
            "seconds in one action after which a stage is reported; 0 is never");
  return table;
}

OptionTable<OutputConfig> output_options() {
  OptionTable<OutputConfig> table;
  table
      .derived_text("dir", &OutputConfig::dir, "runs/<name of the configuration>", "the run folder")
      .text("sample", &OutputConfig::sample, "",
            "prompt of the text printed at the end; empty prints none")
      .integer("sample_tokens", &OutputConfig::sample_tokens, 200, Range::between(1, many),
               "tokens of that text")
      .integer("save_every", &OutputConfig::save_every, 0, Range::between(0, very_many),
               "updates between two checkpoints, from which --resume goes on; 0 saves none");
  return table;
}

const OptionSpec* SectionView::find(std::string_view key) const {
  for (const OptionSpec& spec : options) {
    if (spec.key == key) return &spec;
  }
  return nullptr;
}

const std::vector<std::string>& section_names() {
  static const std::vector<std::string> names = {
      "model",           "data",       "pipeline", "optimizer", "optimizer.fallback",
      "optimizer.group", "correction", "train",    "output"};
  return names;
}

std::vector<std::string> section_names(const Config& config) {
  std::vector<std::string> names;
  for (const std::string& name : section_names()) {
    if (name == list_section) {
      for (std::size_t i = 0; i < config.groups.size(); ++i) names.push_back(group_name(i));
    } else if (name != "optimizer.fallback" || config.fallback) {
      names.push_back(name);
    }
  }
  return names;
}

std::string group_name(std::size_t number) { return fmt::format("{}.{}", list_section, number); }

std::optional<std::size_t> group_number(std::string_view name) {
  constexpr std::size_t most_digits = 6;
  if (!name.starts_with(list_section)) return std::nullopt;
  name.remove_prefix(list_section.size());
  if (!name.starts_with('.')) return std::nullopt;
  name.remove_prefix(1);
  const bool digits = std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || name.empty() || name.size() > most_digits) return std::nullopt;
  if (name.size() > 1 && name.front() == '0') return std::nullopt;
  std::size_t number = 0;
  for (const char c : name) number = 10 * number + static_cast<std::size_t>(c - '0');
  return number;
}

const std::vector<std::string>& inherited_options() {
  static const std::vector<std::string> keys = {"lr", "weight_decay"};
  return keys;
}

SectionView view_section(std::string_view name, Config& config, const Catalogue& catalogue) {
  if (name == "model") return view_model(config.model);
  if (name == "data") return view_struct(name, config.data, data_options());
  if (name == "pipeline") return view_struct(name, config.pipeline, pipeline_options(catalogue));
  if (name == "optimizer") {
    return view_component(name, "optimizer", config.optimizer, catalogue.optimizers);
  }
  if (name == "optimizer.fallback") return view_fallback(config, catalogue);
  if (name == list_section) return view_groups(config, catalogue);
  if (const auto number = group_number(name)) return view_group(*number, config, catalogue);
  if (name == "correction") {
    return view_component(name, "correction", config.correction, catalogue.corrections);
  }
  if (name == "train") return view_struct(name, config.train, train_options());
  if (name == "output") return view_struct(name, config.output, output_options());
  throw std::logic_error("no section is called '" + std::string(name) + "'");
}

}  // namespace penstock::config
