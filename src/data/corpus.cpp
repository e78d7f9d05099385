#include "data/corpus.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "base/error.h"
#include "data/corpus_cache.h"
#include "data/corpus_summary.h"
#include "data/input_files.h"
#include "data/loader.h"
#include "data/shard.h"
#include "data/tokenize_corpus.h"
#include "data/tokenized_folder.h"
#include "data/unigram.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;

enum class InputKind { text, tokens };

/// Shards and what is known about them, on the way to a Prepared.
struct Opened {
  std::vector<Shard> train;
  std::vector<Shard> val;
  ValSource val_source = ValSource::none;
  std::shared_ptr<Tokenizer> tokenizer;
  std::optional<CorpusSummary> summary;  ///< Of exactly these shards.
  bool from_cache = false;
};

InputKind kind_of(const std::string& input) {
  return is_shard_name(input) || is_tokenized_folder(input) ? InputKind::tokens : InputKind::text;
}

InputKind kind_of_all(const PrepareRequest& request) {
  if (request.train.empty()) {
    throw user_error("data", "no training data is given; set data.train");
  }
  const InputKind kind = kind_of(request.train.front());
  for (const std::vector<std::string>* inputs : {&request.train, &request.val}) {
    for (const std::string& input : *inputs) {
      if (kind_of(input) == kind) continue;
      const bool text = kind == InputKind::text;
      throw user_error("data",
                       "'{}' is text and '{}' token shards; give either text or shards in "
                       "data.train and data.val",
                       text ? request.train.front() : input, text ? input : request.train.front());
    }
  }
  return kind;
}

void require_model_vocabulary(std::int64_t vocabulary, const PrepareRequest& request) {
  if (request.model_vocabulary == 0 || vocabulary <= request.model_vocabulary) return;
  throw user_error("data",
                   "tokenizer '{}' has {} ids, the model's vocabulary {}; set model.vocab to {} or "
                   "more",
                   request.tokenizer, vocabulary, request.model_vocabulary, vocabulary);
}

Opened open_text(const PrepareRequest& request) {
  // Before the work rather than behind it.
  const auto given = given_tokenizer(request.tokenizer, request.vocabulary);
  require_model_vocabulary(given ? given->vocabulary() : request.vocabulary, request);

  TokenizeRequest text;
  text.train = request.train;
  text.val = request.val;
  text.tokenizer = request.tokenizer;
  text.vocabulary = request.vocabulary;
  text.val_fraction = request.val_fraction;
  text.separator = request.separator;
  text.single_document = SingleDocument::train_on_it;
  text.progress = request.progress;
  CachedCorpus cached = open_cached(request.cache_folder, text);

  Opened opened;
  opened.train = std::move(cached.shards.train);
  opened.val = std::move(cached.shards.val);
  opened.tokenizer = std::move(cached.shards.tokenizer);
  opened.summary = std::move(cached.shards.summary);
  opened.from_cache = cached.was_there;
  if (!opened.val.empty()) {
    opened.val_source = request.val.empty() ? ValSource::documents : ValSource::given;
  }
  return opened;
}

/// Whether `name` is a tokenizer's file rather than a word for how to treat text.
bool names_file(const std::string& name) {
  return !name.empty() && name != "bytes" && name != "bpe";
}

void move_to(std::vector<Shard>& all, std::vector<Shard> more) {
  std::move(more.begin(), more.end(), std::back_inserter(all));
}

/// The shards of `inputs`; of folders made by tokenize() those for training, and into `val` those
/// for validation.
std::vector<Shard> open_shards(const std::vector<std::string>& inputs, std::vector<Shard>& val) {
  std::vector<Shard> shards;
  for (const std::string& input : inputs) {
    if (is_tokenized_folder(input)) {
      TokenizedFolder folder = open_tokenized_folder(input);
      move_to(shards, std::move(folder.train));
      move_to(val, std::move(folder.val));
    } else {
      for (const InputFile& file : find_files({input})) shards.emplace_back(file.path);
    }
  }
  return shards;
}

/// The tokenizer's file: the given one, or the one beside the first .tokens shard.
fs::path tokenizer_file(const PrepareRequest& request, const std::vector<Shard>& shards) {
  if (names_file(request.tokenizer)) return request.tokenizer;
  const auto own = std::find_if(shards.begin(), shards.end(),
                                [](const Shard& shard) { return shard.header().has_value(); });
  if (own == shards.end()) return {};
  const fs::path beside = own->file().parent_path() / tokenizer_file_name;
  return fs::exists(beside) ? beside : fs::path();
}

void require_one_tokenizer(const std::vector<Shard>& train, const std::vector<Shard>& val) {
  const Shard* first = nullptr;
  for (const std::vector<Shard>* shards : {&train, &val}) {
    for (const Shard& shard : *shards) {
      if (!shard.header()) continue;
      if (first == nullptr) first = &shard;
      if (shard.header()->tokenizer_hash == first->header()->tokenizer_hash) continue;
      throw user_error("data",
                       "'{}' and '{}' were made with different tokenizers; tokenize one of them "
                       "again with --tokenizer set to the other's tokenizer.json",
                       first->file().string(), shard.file().string());
    }
  }
}

Opened open_tokens(const PrepareRequest& request) {
  Opened opened;
  std::vector<Shard> brought;
  opened.train = open_shards(request.train, brought);
  if (request.val.empty()) {
    opened.val = std::move(brought);
  } else {
    // A folder made by tokenize() given for validation stands for its validation shards.
    std::vector<Shard> val;
    std::vector<Shard> others = open_shards(request.val, val);
    opened.val = val.empty() ? std::move(others) : std::move(val);
  }
  if (!opened.val.empty()) opened.val_source = ValSource::given;
  require_one_tokenizer(opened.train, opened.val);
  if (const fs::path file = tokenizer_file(request, opened.train); !file.empty()) {
    opened.tokenizer = load_tokenizer(file);
    require_tokenizer(opened.train, *opened.tokenizer, file);
    require_tokenizer(opened.val, *opened.tokenizer, file);
  }
  if (request.train.size() == 1 && request.val.empty() && is_tokenized_folder(request.train[0])) {
    const fs::path summary = fs::path(request.train[0]) / summary_file_name;
    if (fs::exists(summary)) opened.summary = load_summary(summary);
  }
  return opened;
}

std::int64_t vocabulary_of(const Opened& opened) {
  if (opened.tokenizer) return opened.tokenizer->vocabulary();
  std::uint64_t vocabulary = 0;
  for (const std::vector<Shard>* shards : {&opened.train, &opened.val}) {
    for (const Shard& shard : *shards) {
      vocabulary = std::max(vocabulary, std::uint64_t{shard.largest_id()} + 1);
      if (shard.header()) vocabulary = std::max(vocabulary, shard.header()->vocabulary);
    }
  }
  return static_cast<std::int64_t>(vocabulary);
}

std::uint64_t documents_of(const Opened& opened) {
  std::uint64_t documents = 0;
  for (const std::vector<Shard>* shards : {&opened.train, &opened.val}) {
    for (const Shard& shard : *shards) {
      if (!shard.header()) return 0;
      documents += shard.header()->documents;
    }
  }
  return documents;
}

void require_sequence(const TokenRange& range, std::int64_t seq, std::string_view purpose,
                      std::string_view key) {
  if (window_count(range.size, seq) > 0) return;
  throw user_error("data",
                   "the {} data has {} tokens, one sequence of {} needs {}; give more in data.{}, "
                   "or set model.seq lower",
                   purpose, range.size, seq, seq + 1, key);
}

void require_readable_by_model(const Opened& opened, const PrepareRequest& request) {
  if (request.model_vocabulary == 0) return;
  for (const std::vector<Shard>* shards : {&opened.train, &opened.val}) {
    for (const Shard& shard : *shards) {
      require_vocabulary(shard, static_cast<std::uint64_t>(request.model_vocabulary));
    }
  }
}

/// Turns the shards into ranges, holding out windows where there is no validation data.
void make_ranges(Opened& opened, const PrepareRequest& request, Prepared& prepared) {
  prepared.val_source = opened.val_source;
  prepared.train = whole(std::make_shared<TokenStream>(std::move(opened.train)));
  prepared.tokens = prepared.train.size;
  if (!opened.val.empty()) {
    prepared.val = whole(std::make_shared<TokenStream>(std::move(opened.val)));
    prepared.tokens += prepared.val.size;
    require_sequence(prepared.val, request.seq, "validation", "val");
  } else if (request.val_fraction > 0) {
    Split split = split_windows(prepared.train, request.seq, request.val_fraction);
    prepared.train = std::move(split.train);
    prepared.val = std::move(split.val);
    prepared.val_source = ValSource::windows;
  }
  require_sequence(prepared.train, request.seq, "training", "train");
}

}  // namespace

Prepared prepare(const PrepareRequest& request) {
  if (request.seq < 1) throw user_error("data", "seq = {}, it must be at least 1", request.seq);
  if (!(request.val_fraction >= 0 && request.val_fraction < 1)) {
    throw user_error("data", "val_fraction = {}, it must be at least 0 and below 1",
                     request.val_fraction);
  }
  const bool text = kind_of_all(request) == InputKind::text;
  Opened opened = text ? open_text(request) : open_tokens(request);
  require_readable_by_model(opened, request);

  Prepared prepared;
  prepared.vocabulary = vocabulary_of(opened);
  prepared.documents = documents_of(opened);
  prepared.bytes = opened.summary ? opened.summary->bytes() : 0;
  prepared.tokenizer = opened.tokenizer;
  prepared.from_cache = opened.from_cache;
  make_ranges(opened, request, prepared);
  const bool known = opened.summary && prepared.val_source != ValSource::windows;
  prepared.unigram_entropy =
      known ? opened.summary->unigram_entropy : unigram_entropy(prepared.train);
  return prepared;
}

}  // namespace penstock::data
