#include "train/run_data.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "data/loader.h"
#include "train/torch_root.h"

namespace penstock::train {
namespace {

std::string with_torch_root(std::string path) {
  constexpr std::string_view mark = "{torch}";
  if (const auto place = path.find(mark); place != std::string::npos) {
    path.replace(place, mark.size(), torch_root().string());
  }
  return path;
}

std::vector<std::string> with_torch_root(std::vector<std::string> paths) {
  for (auto& path : paths) path = with_torch_root(std::move(path));
  return paths;
}

std::filesystem::path cache_folder(const config::DataConfig& data) {
  if (!data.cache.empty()) return data.cache;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return std::filesystem::path(cache) / "penstock";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return std::filesystem::path(home) / ".cache" / "penstock";
  }
  return std::filesystem::temp_directory_path() / "penstock-cache";
}

data::Prepared open_data(const config::Config& config, const data::Progress& progress) {
  if (config.data.train.empty()) return {};  // allowed for runs without updates only
  return data::prepare({
      .train = with_torch_root(config.data.train),
      .val = with_torch_root(config.data.val),
      .tokenizer = with_torch_root(config.data.tokenizer),
      .vocabulary = config.model.vocab,
      .model_vocabulary = config.model.vocab,
      .val_fraction = config.data.val_fraction,
      .separator = config.data.separator,
      .cache_folder = cache_folder(config.data),
      .seq = config.model.seq,
      .progress = progress,
  });
}

/// Sequence k of the run is number k mod micro_batch of its micro-batch.
class LoaderSource final : public engine::MicroBatchSource {
 public:
  struct Options {
    std::int64_t micro_batches = 1;
    std::int64_t micro_batch = 1;
    std::int64_t validation_sequences = 0;
    double gradient_scale = 1;
  };

  LoaderSource(std::optional<data::Loader> training, std::optional<data::Loader> validation,
               Options options)
      : training_(std::move(training)), validation_(std::move(validation)), options_(options) {}

  model::MicroBatch training(std::int64_t batch, std::int64_t micro_batch) override {
    const std::int64_t first =
        (batch * options_.micro_batches + micro_batch) * options_.micro_batch;
    return read(training_.value(), options_.micro_batch, [&](std::int64_t i) { return first + i; });
  }

  // A part of the validation windows is spread evenly over all of them, so that it does not come
  // from a few documents only.
  model::MicroBatch validation(std::int64_t micro_batch) override {
    auto& loader = validation_.value();
    const std::int64_t first = micro_batch * options_.micro_batch;
    const std::int64_t all = options_.validation_sequences;
    return read(loader, std::min(options_.micro_batch, all - first),
                [&](std::int64_t i) { return (first + i) * loader.windows() / all; });
  }

 private:
  /// `count` sequences; sequence_of(i) is the loader's number of the i-th.
  template <class SequenceOf>
  model::MicroBatch read(data::Loader& loader, std::int64_t count, SequenceOf sequence_of) const {
    const std::int64_t seq = loader.seq();
    model::MicroBatch batch{.inputs = at::empty({count * seq}, at::kLong),
                            .targets = at::empty({count * seq}, at::kLong),
                            .sequences = count,
                            .gradient_scale = options_.gradient_scale};
    const auto row = [seq](const at::Tensor& tensor, std::int64_t i) {
      return std::span(tensor.mutable_data_ptr<std::int64_t>() + i * seq,
                       static_cast<std::size_t>(seq));
    };
    for (std::int64_t i = 0; i < count; ++i) {
      loader.sequence(sequence_of(i), row(batch.inputs, i), row(batch.targets, i));
    }
    return batch;
  }

  std::optional<data::Loader> training_;
  std::optional<data::Loader> validation_;
  const Options options_;
};

}  // namespace

RunData::RunData(const config::Config& config, const data::Progress& progress)
    : config_(config), prepared_(open_data(config, progress)) {
  if (prepared_.val.empty()) return;
  const std::int64_t windows = data::window_count(prepared_.val.size, config.model.seq);
  const std::int64_t wanted = config.train.eval_sequences;
  validation_sequences_ = wanted == 0 ? windows : std::min(wanted, windows);
}

std::int64_t RunData::training_sequences() const {
  return data::window_count(prepared_.train.size, config_.model.seq);
}

std::int64_t RunData::validation_micro_batches() const {
  const std::int64_t size = config_.pipeline.micro_batch;
  return (validation_sequences_ + size - 1) / size;
}

engine::SourceFactory RunData::source_factory() const {
  return [this] {
    const auto seed = static_cast<std::uint64_t>(config_.train.seed);
    std::optional<data::Loader> training;
    std::optional<data::Loader> validation;
    if (!prepared_.train.empty()) {
      training.emplace(prepared_.train,
                       data::LoaderOptions{.seq = config_.model.seq, .seed = seed});
    }
    if (validation_sequences_ > 0) {
      validation.emplace(prepared_.val, data::LoaderOptions{.seq = config_.model.seq,
                                                            .order = data::Order::sequential});
    }
    return std::make_unique<LoaderSource>(
        std::move(training), std::move(validation),
        LoaderSource::Options{
            .micro_batches = config_.pipeline.micro_batches,
            .micro_batch = config_.pipeline.micro_batch,
            .validation_sequences = validation_sequences_,
            .gradient_scale = 1.0 / static_cast<double>(config_.tokens_per_update())});
  };
}

}  // namespace penstock::train
