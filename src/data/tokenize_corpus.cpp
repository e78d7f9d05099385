#include "data/tokenize_corpus.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/random.h"
#include "data/bpe_trainer.h"
#include "data/content_hash.h"
#include "data/documents.h"
#include "data/input_files.h"
#include "data/mapped_file.h"
#include "data/shard.h"
#include "data/shard_writer.h"
#include "data/tokenized_folder.h"
#include "data/unigram.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;

/// What an interrupted call has left.
bool is_leftover(const fs::path& path) { return path.filename().native().starts_with(".partial-"); }

void require_usable_out(const TokenizeRequest& request) {
  const fs::path& out = request.out;
  if (out.empty()) throw user_error("data", "no folder for the shards; set --out");
  if (!fs::exists(out)) return;
  if (!fs::is_directory(out)) throw user_error("data", "'{}' is not a folder", out.string());
  if (request.replace) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(out)) {
    if (is_leftover(entry.path())) continue;
    throw user_error("data",
                     "folder '{}' is not empty; give another --out, or --force to replace the "
                     "shards in it",
                     out.string());
  }
}

/// Where the files are made; they move to `out` together at the end.
class Staging {
 public:
  explicit Staging(fs::path out)
      : out_(std::move(out)), folder_(out_ / fmt::format(".partial-{}", ::getpid())) {
    fs::create_directories(folder_);
  }
  ~Staging() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const fs::path& folder() const { return folder_; }

  /// Replaces the files of earlier calls. The summary goes first and comes last: a folder that
  /// has one is complete.
  void publish() const {
    fs::remove(out_ / summary_file_name);
    for (const fs::path& old : own_files(out_)) {
      if (old != folder_) fs::remove_all(old);
    }
    for (const fs::path& made : own_files(folder_)) {
      if (made.filename() != summary_file_name) fs::rename(made, out_ / made.filename());
    }
    fs::rename(folder_ / summary_file_name, out_ / summary_file_name);
  }

 private:
  static std::vector<fs::path> own_files(const fs::path& folder) {
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      if (is_tokenized_folder_file(entry.path()) || is_leftover(entry.path())) {
        files.push_back(entry.path());
      }
    }
    return files;
  }

  fs::path out_;
  fs::path folder_;
};

void require_options(const TokenizeRequest& request) {
  if (request.train.empty()) throw user_error("data", "no text is given; name files or folders");
  if (!(request.val_fraction >= 0 && request.val_fraction < 1)) {
    throw user_error("data", "val_fraction = {}, it must be at least 0 and below 1",
                     request.val_fraction);
  }
  if (request.shard_tokens < 1) {
    throw user_error("data", "shard_tokens = {}, it must be at least 1", request.shard_tokens);
  }
}

/// One call of tokenize().
class Job {
 public:
  explicit Job(const TokenizeRequest& request) : request_(request) {}

  CorpusSummary run() {
    require_options(request_);
    require_usable_out(request_);
    tokenizer_ = given_tokenizer(request_.tokenizer, request_.vocabulary);
    train_ = text_files(request_.train);
    if (!request_.val.empty()) val_ = text_files(request_.val);
    survey();
    if (!tokenizer_) learn_tokenizer();
    const Staging staging(request_.out);
    encode(staging.folder());
    tokenizer_->save(staging.folder() / tokenizer_file_name);
    write_file_atomically(staging.folder() / summary_file_name, to_json(summary_) + "\n");
    staging.publish();
    return summary_;
  }

 private:
  using Visit = std::function<void(std::string_view document, bool val)>;

  std::vector<InputFile> text_files(const std::vector<std::string>& inputs) {
    std::vector<InputFile> files = find_files(inputs, request_.out);
    for (const InputFile& file : files) {
      all_bytes_ += file.size;
      if (file.named && is_shard_name(file.path)) {
        throw user_error("data", "'{}' is a token shard by its name, where text is needed",
                         file.path.string());
      }
    }
    return files;
  }

  static bool is_text(const InputFile& file, std::string_view text) {
    return file.named || (!is_shard_name(file.path) && !looks_binary(text));
  }

  /// Reads every text file once; `file_done` is called behind each with whether it is text.
  void read_all(std::string_view stage, const Visit& visit,
                const std::function<void(bool is_text)>& file_done = {}) {
    std::uint64_t read = 0;
    for (const std::vector<InputFile>* files : {&train_, &val_}) {
      const bool val = files == &val_;
      for (const InputFile& file : *files) {
        const MappedFile mapped(file.path);
        const bool text = is_text(file, mapped.bytes());
        if (text) {
          for_each_document(mapped.bytes(), request_.separator, [&](std::string_view document) {
            visit(document, val || split_.is_val(content_hash(document)));
            const char* end = document.data() + document.size();
            report(stage, read + static_cast<std::uint64_t>(end - mapped.bytes().data()));
          });
        }
        if (file_done) file_done(text);
        read += file.size;
        report(stage, read);
      }
    }
  }

  void report(std::string_view stage, std::uint64_t read) const {
    if (!request_.progress) return;
    const double part = static_cast<double>(read) / static_cast<double>(std::max(all_bytes_, read));
    request_.progress(stage, all_bytes_ == 0 ? 1 : part);
  }

  /// Decides the side of each document.
  void survey() {
    std::vector<std::uint64_t> hashes;
    std::uint64_t val_documents = 0;
    read_all(
        "reading",
        [&](std::string_view document, bool val) {
          if (val) {
            ++val_documents;
          } else {
            hashes.push_back(content_hash(document));
            train_bytes_ += document.size();
          }
        },
        [&](bool text) { ++(text ? summary_.files : summary_.skipped_files); });
    require_text(hashes.size(), "training");
    if (!request_.val.empty()) return require_text(val_documents, "validation");
    if (request_.val_fraction == 0) return;
    const bool all_equal =
        std::adjacent_find(hashes.begin(), hashes.end(), std::not_equal_to<>()) == hashes.end();
    if (!all_equal) {
      split_ = DocumentSplit(std::move(hashes), request_.val_fraction);
    } else if (request_.single_document == SingleDocument::reject) {
      throw user_error("data",
                       "no document can be held out for validation: the text has {} document(s), "
                       "none different from the others; set a separator, or a validation fraction "
                       "of 0 (training then holds out the end of the tokens)",
                       hashes.size());
    }
  }

  void require_text(std::uint64_t documents, std::string_view purpose) const {
    if (documents > 0) return;
    throw user_error("data",
                     "there is no {} text: {} file(s) read have none, {} skipped as binary; check "
                     "the inputs",
                     purpose, summary_.files, summary_.skipped_files);
  }

  void learn_tokenizer() {
    constexpr std::size_t block = 65536;
    const double part =
        static_cast<double>(request_.bpe_sample_bytes) / static_cast<double>(train_bytes_);
    BpeTrainer trainer;
    read_all("counting words", [&](std::string_view document, bool val) {
      if (val) return;
      const std::uint64_t key = content_hash(document);
      for (std::size_t i = 0; i * block < document.size(); ++i) {
        if (random_uniform(key, i) < part) trainer.add(document.substr(i * block, block));
      }
    });
    tokenizer_ = make_bpe_tokenizer(
        trainer.train(static_cast<std::uint32_t>(request_.vocabulary), request_.progress));
  }

  ShardSettings shard_settings(const fs::path& folder, const char* prefix) const {
    return {.folder = folder,
            .prefix = prefix,
            .vocabulary = tokenizer_->vocabulary(),
            .tokenizer_hash = tokenizer_->hash(),
            .end_of_document = Tokenizer::end_of_document,
            .shard_tokens = request_.shard_tokens};
  }

  void encode(const fs::path& folder) {
    ShardWriter train(shard_settings(folder, "train"));
    ShardWriter val(shard_settings(folder, "val"));
    std::vector<std::uint64_t> counts(tokenizer_->vocabulary());
    std::vector<std::uint32_t> ids;
    read_all("encoding", [&](std::string_view document, bool is_val) {
      ids.clear();
      tokenizer_->encode(document, ids);
      (is_val ? val : train).add_document(ids);
      ++(is_val ? summary_.val_documents : summary_.train_documents);
      (is_val ? summary_.val_bytes : summary_.train_bytes) += document.size();
      (is_val ? summary_.val_tokens : summary_.train_tokens) += ids.size() + 1;
      if (is_val) return;
      for (const std::uint32_t id : ids) ++counts[id];
      ++counts[Tokenizer::end_of_document];
    });
    train.finish();
    val.finish();
    summary_.vocabulary = tokenizer_->vocabulary();
    summary_.tokenizer = tokenizer_->name();
    summary_.unigram_entropy = unigram_entropy(counts);
  }

  const TokenizeRequest& request_;
  std::vector<InputFile> train_;
  std::vector<InputFile> val_;
  DocumentSplit split_;
  std::uint64_t all_bytes_ = 0;    ///< Of the files, binary ones included.
  std::uint64_t train_bytes_ = 0;  ///< Before the split.
  std::shared_ptr<Tokenizer> tokenizer_;
  CorpusSummary summary_;
};

}  // namespace

CorpusSummary tokenize(const TokenizeRequest& request) { return Job(request).run(); }

std::shared_ptr<Tokenizer> given_tokenizer(const std::string& name, std::int64_t vocabulary) {
  if (name == "bytes") return make_byte_tokenizer();
  if (name != "bpe") return load_tokenizer(name);
  if (vocabulary <= Tokenizer::end_of_document || vocabulary > largest_vocabulary) {
    throw user_error("data",
                     "a bpe vocabulary of {} ids is not possible: it has 256 bytes, the end of a "
                     "document and merges; set from {} to {}",
                     vocabulary, Tokenizer::end_of_document + 1, largest_vocabulary);
  }
  return nullptr;
}

}  // namespace penstock::data
