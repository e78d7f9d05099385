#pragma once
// The safetensors file format: 8 bytes of header length (little endian), a JSON header with type,
// shape and byte range of every tensor, then the tensors' bytes.
// Format: huggingface.co/docs/safetensors.

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <string>

namespace penstock::checkpoint {

struct SafetensorsFile {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Writes the tensors in the given map's order, atomically. Types: fp32, fp64, bf16, int64.
/// Errors: std::system_error naming the file.
void write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file);

/// Errors: UserError for a missing, truncated or malformed file or an unknown type.
SafetensorsFile read_safetensors(const std::filesystem::path& path);

}  // namespace penstock::checkpoint
