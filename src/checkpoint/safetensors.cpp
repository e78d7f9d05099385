#include "checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"

namespace penstock::checkpoint {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

static_assert(std::endian::native == std::endian::little, "the format is little endian");

struct TypeName {
  at::ScalarType type;
  const char* name;
};
constexpr std::array type_names{TypeName{at::kDouble, "F64"}, TypeName{at::kFloat, "F32"},
                                TypeName{at::kHalf, "F16"},   TypeName{at::kBFloat16, "BF16"},
                                TypeName{at::kLong, "I64"},   TypeName{at::kInt, "I32"},
                                TypeName{at::kShort, "I16"},  TypeName{at::kChar, "I8"},
                                TypeName{at::kByte, "U8"},    TypeName{at::kBool, "BOOL"}};

const char* name_of(at::ScalarType type) {
  for (const auto& entry : type_names) {
    if (entry.type == type) return entry.name;
  }
  throw std::logic_error("safetensors: this tensor type is not written");
}

UserError malformed(const std::filesystem::path& path, const std::string& problem) {
  return user_error("weights", "'{}' is no readable safetensors file: {}; give a complete one",
                    path.string(), problem);
}

at::ScalarType type_of(const std::string& name, const std::filesystem::path& path) {
  for (const auto& entry : type_names) {
    if (entry.name == name) return entry.type;
  }
  throw malformed(path, fmt::format("type '{}' is none of F64, F32, F16, BF16, I64, I32, I16, I8, "
                                    "U8, BOOL",
                                    name));
}

std::string header_of(const SafetensorsFile& file) {
  ordered_json header = ordered_json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  std::size_t offset = 0;
  for (const auto& [name, tensor] : file.tensors) {
    const std::size_t end = offset + tensor.nbytes();
    header[name] = {{"dtype", name_of(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // tensors start aligned
  return text;
}

std::vector<std::int64_t> whole_numbers(const json& entry, const char* key,
                                        const std::filesystem::path& path) {
  const json& list = entry.at(key);
  bool whole = list.is_array();
  for (const json& item : list) whole = whole && item.is_number_integer();
  if (!whole) throw malformed(path, fmt::format("'{}' is no list of whole numbers", key));
  return list.get<std::vector<std::int64_t>>();
}

/// Bytes of a tensor of this shape. Also checks products that a zero would hide.
std::int64_t byte_count(const std::vector<std::int64_t>& shape, at::ScalarType type,
                        const std::filesystem::path& path) {
  std::int64_t bytes = static_cast<std::int64_t>(c10::elementSize(type));
  bool empty = false;
  for (const std::int64_t size : shape) {
    empty = empty || size == 0;
    if (size < 0 || __builtin_mul_overflow(bytes, std::max<std::int64_t>(size, 1), &bytes)) {
      throw malformed(path, "a shape is out of range");
    }
  }
  return empty ? 0 : bytes;
}

using ByteRange = std::pair<std::int64_t, std::int64_t>;

at::Tensor read_tensor(const json& entry, std::string_view body, std::vector<ByteRange>& ranges,
                       const std::filesystem::path& path) {
  const auto type = type_of(entry.at("dtype").get<std::string>(), path);
  const auto shape = whole_numbers(entry, "shape", path);
  const auto range = whole_numbers(entry, "data_offsets", path);
  if (range.size() != 2) throw malformed(path, "'data_offsets' are not two numbers");
  const std::int64_t bytes = byte_count(shape, type, path);
  const auto available = static_cast<std::int64_t>(body.size());
  if (range[0] < 0 || range[0] > range[1] || range[1] > available || range[1] - range[0] != bytes) {
    throw malformed(path, fmt::format("bytes {} to {} of {} do not hold the stated shape", range[0],
                                      range[1], available));
  }
  ranges.emplace_back(range[0], range[1]);
  at::Tensor tensor = at::empty(shape, type);
  if (bytes > 0) {
    std::memcpy(tensor.mutable_data_ptr(), body.data() + range[0], static_cast<std::size_t>(bytes));
  }
  return tensor;
}

void require_gapless(std::vector<ByteRange> ranges, std::size_t size,
                     const std::filesystem::path& path) {
  std::ranges::sort(ranges);
  std::int64_t end = 0;
  bool gapless = true;
  for (const auto& [first, last] : ranges) {
    gapless = gapless && first == end;
    end = last;
  }
  if (!gapless || end != static_cast<std::int64_t>(size)) {
    throw malformed(path, fmt::format("its tensors do not fill its {} bytes of data without gaps "
                                      "and overlaps",
                                      size));
  }
}

/// A file as far as its header.
struct Opened {
  std::ifstream stream;  // at the first byte of the tensors
  std::uint64_t size = 0;
  json header;
};

Opened open_header(const std::filesystem::path& path) {
  Opened file{std::ifstream(path, std::ios::binary), 0, {}};
  if (!file.stream || !std::filesystem::is_regular_file(path)) {
    throw user_error("weights", "'{}' cannot be opened; give an existing file", path.string());
  }
  file.size = std::filesystem::file_size(path);
  std::uint64_t length = 0;
  if (file.size < sizeof length) throw malformed(path, "it ends before its header");
  file.stream.read(reinterpret_cast<char*>(&length), sizeof length);
  if (length > file.size - sizeof length) throw malformed(path, "it ends within its header");
  std::string text(length, '\0');
  file.stream.read(text.data(), static_cast<std::streamsize>(length));
  if (!file.stream) throw malformed(path, "it cannot be read");
  try {
    file.header = json::parse(text);
  } catch (const json::exception& error) {
    throw malformed(path, error.what());
  }
  if (!file.header.is_object()) throw malformed(path, "its header is no JSON object");
  return file;
}

std::string read_body(Opened& file, const std::filesystem::path& path) {
  std::string body(file.size - static_cast<std::uint64_t>(file.stream.tellg()), '\0');
  file.stream.read(body.data(), static_cast<std::streamsize>(body.size()));
  if (!file.stream) throw malformed(path, "it cannot be read");
  return body;
}

}  // namespace

Fingerprint write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file) {
  const std::string header = header_of(file);
  const auto length = static_cast<std::uint64_t>(header.size());
  AtomicFile out(path);
  Fingerprinter fingerprinter;
  const auto write = [&](std::span<const std::byte> bytes) {
    out.write(bytes);
    fingerprinter.add(bytes);
  };
  write(std::as_bytes(std::span(&length, 1)));
  write(std::as_bytes(std::span(header)));
  for (const auto& [name, tensor] : file.tensors) {
    const at::Tensor data = tensor.to(at::kCPU).contiguous();
    write({static_cast<const std::byte*>(data.const_data_ptr()), data.nbytes()});
  }
  out.commit();
  return fingerprinter.result();
}

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  Opened opened = open_header(path);
  const std::string body = read_body(opened, path);
  SafetensorsFile file;
  try {
    std::vector<ByteRange> ranges;
    for (const auto& [name, entry] : opened.header.items()) {
      if (name == "__metadata__") {
        file.metadata = entry.get<std::map<std::string, std::string>>();
      } else {
        file.tensors[name] = read_tensor(entry, body, ranges, path);
      }
    }
    require_gapless(std::move(ranges), body.size(), path);
  } catch (const json::exception& error) {
    throw malformed(path, error.what());
  }
  return file;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path) {
  const Opened opened = open_header(path);
  const auto metadata = opened.header.find("__metadata__");
  if (metadata == opened.header.end()) return {};
  try {
    return metadata->get<std::map<std::string, std::string>>();
  } catch (const json::exception& error) {
    throw malformed(path, error.what());
  }
}

}  // namespace penstock::checkpoint
