#pragma once
// The safetensors file format: 8 bytes of header length (little endian), a JSON header with type,
// shape and byte range of every tensor, then the tensors' bytes.
// Format: huggingface.co/docs/safetensors.

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <string>

#include "checkpoint/fingerprint.h"

namespace penstock::checkpoint {

struct SafetensorsFile {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Writes the tensors in the given map's order, atomically, and returns what
/// fingerprint_of_file(path)
/// would. Types: fp64, fp32, fp16, bf16, int64, int32, int16, int8, uint8 and bool. Tensors of
/// other devices are copied one at a time. Errors: std::system_error naming the file,
/// std::logic_error for another type.
Fingerprint write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file);

/// Errors: UserError for a missing, truncated or malformed file or an unknown type.
SafetensorsFile read_safetensors(const std::filesystem::path& path);

/// The metadata alone; reads no more than the header. Errors as of read_safetensors().
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

}  // namespace penstock::checkpoint
