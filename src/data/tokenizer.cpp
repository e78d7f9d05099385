#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/atomic_file.h"
#include "base/error.h"
#include "data/bpe.h"
#include "data/content_hash.h"
#include "data/mapped_file.h"

namespace penstock::data {
namespace {

using nlohmann::json;

class ByteTokenizer : public Tokenizer {
 public:
  ByteTokenizer() {
    for (std::size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<char>(i);
  }

  std::string_view name() const override { return "bytes"; }
  std::uint32_t vocabulary() const override { return end_of_document + 1; }

  void encode(std::string_view bytes, std::vector<std::uint32_t>& ids) override {
    ids.reserve(ids.size() + bytes.size());
    for (const char byte : bytes) ids.push_back(static_cast<unsigned char>(byte));
  }

  std::string_view bytes_of(std::uint32_t id) const override {
    if (id == end_of_document) return {};
    if (id > end_of_document) return "\xef\xbf\xbd";
    return {&bytes_[id], 1};
  }

  std::string to_json() const override {
    return "{\n"
           "  \"format\": \"penstock tokenizer\",\n"
           "  \"version\": 1,\n"
           "  \"kind\": \"bytes\",\n"
           "  \"vocabulary\": 257\n"
           "}\n";
  }

 private:
  std::array<char, 256> bytes_{};
};

/// One tokenizer file while it is read; every complaint names it.
class Document {
 public:
  Document(std::string_view text, std::string_view source) : source_(source) {
    root_ = json::parse(text, nullptr, false);
    if (root_.is_discarded()) throw bad("it is not JSON");
    if (!root_.is_object()) throw bad("it is not a JSON object");
  }

  std::shared_ptr<Tokenizer> tokenizer() const {
    if (text("format") != "penstock tokenizer") {
      throw bad(R"("format" is "{}", not "penstock tokenizer")", text("format"));
    }
    if (number(root_, "version") != 1) {
      throw bad("its version is {}, this program reads 1", number(root_, "version"));
    }
    const std::string kind = text("kind");
    if (kind == "bytes") return checked(make_byte_tokenizer(), 4);
    if (kind == "bpe") return bpe();
    throw bad(R"("kind" is "{}"; known are "bytes" and "bpe")", kind);
  }

 private:
  template <class... Args>
  UserError bad(fmt::format_string<Args...> format, Args&&... args) const {
    return user_error("data", "'{}' is not a usable tokenizer: {}", source_,
                      fmt::format(format, std::forward<Args>(args)...));
  }

  std::string text(const char* key) const {
    const auto found = root_.find(key);
    if (found == root_.end() || !found->is_string()) throw bad(R"("{}" is not a text)", key);
    return found->get<std::string>();
  }

  std::uint32_t number(const json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) throw bad(R"("{}" is missing)", key);
    return id(*found, key);
  }

  std::uint32_t id(const json& value, std::string_view what) const {
    if (!value.is_number_unsigned() ||
        value.get<std::uint64_t>() > std::numeric_limits<std::uint32_t>::max()) {
      throw bad(R"("{}" holds {} where a whole number is needed)", what, value.dump());
    }
    return value.get<std::uint32_t>();
  }

  std::shared_ptr<Tokenizer> bpe() const {
    if (text("pre_tokenizer") != PreTokenizer::id) {
      throw bad(R"("pre_tokenizer" is "{}", this program has "{}")", text("pre_tokenizer"),
                PreTokenizer::id);
    }
    const auto list = root_.find("merges");
    if (list == root_.end() || !list->is_array()) throw bad(R"("merges" is not a list)");
    std::vector<Merge> merges;
    for (const json& entry : *list) {
      if (!entry.is_array() || entry.size() != 3 || !entry[2].is_string()) {
        throw bad("merge {} is not [left, right, text]", merges.size());
      }
      merges.push_back({id(entry[0], "merges"), id(entry[1], "merges")});
    }
    std::shared_ptr<Tokenizer> made;
    try {
      made = make_bpe_tokenizer(merges);
    } catch (const std::invalid_argument& error) {
      throw bad("{}", error.what());
    }
    for (std::size_t i = 0; i < merges.size(); ++i) {
      const std::string shown = visible_text(
          made->bytes_of(Tokenizer::end_of_document + 1 + static_cast<std::uint32_t>(i)));
      if ((*list)[i][2].get_ref<const std::string&>() != shown) {
        throw bad("the text of merge {} is {}, its ids give \"{}\"", i, (*list)[i][2].dump(),
                  shown);
      }
    }
    return checked(made, 6);
  }

  std::shared_ptr<Tokenizer> checked(std::shared_ptr<Tokenizer> made, std::size_t keys) const {
    if (number(root_, "vocabulary") != made->vocabulary()) {
      throw bad("\"vocabulary\" is {}, its entries give {}", number(root_, "vocabulary"),
                made->vocabulary());
    }
    if (root_.size() != keys) throw bad("it has keys that its kind does not know");
    return made;
  }

  std::string source_;
  json root_;
};

}  // namespace

std::string Tokenizer::decode(std::span<const std::uint32_t> ids) const {
  std::string bytes;
  for (const std::uint32_t id : ids) bytes += bytes_of(id);
  return bytes;
}

std::uint64_t Tokenizer::hash() const { return content_hash(to_json()); }

void Tokenizer::save(const std::filesystem::path& file) const {
  write_file_atomically(file, to_json());
}

std::shared_ptr<Tokenizer> make_byte_tokenizer() { return std::make_shared<ByteTokenizer>(); }

std::shared_ptr<Tokenizer> parse_tokenizer(std::string_view json_text,
                                           std::string_view source_name) {
  return Document(json_text, source_name).tokenizer();
}

std::shared_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& file) {
  return parse_tokenizer(MappedFile(file).bytes(), file.string());
}

}  // namespace penstock::data
