#pragma once
// Small checkpoints made by hand.

#include <ATen/ATen.h>

#include <filesystem>
#include <string>

#include "checkpoint/checkpoint_writer.h"

namespace penstock::checkpoint {

inline Identity test_identity() {
  return {{{"model.layers", "2"}, {"pipeline.schedule", "\"2bw\""}},
          {{"training tokens", "1000"}, {"hash", "0123456789abcdef"}},
          {{"LibTorch", "2.11.0"}, {"processor", "an \"odd\" name"}}};
}

/// What a stage may have to remember: tensors of every type, numbers, and nothing.
inline Part test_part(int stage, std::int64_t cut) {
  Part part{stage, cut, {}};
  const double value = static_cast<double>(100 * cut + stage);
  part.tensors["weights"] = at::full({3, 5}, value + 0.5);
  part.tensors["moment"] = at::full({2}, value / 3, at::kDouble);
  part.tensors["input"] = at::arange(6, at::kLong).view({2, 3}) + stage;
  part.tensors["activation"] = at::full({4}, value).to(at::kBFloat16);
  part.tensors["half"] = at::full({4}, 0.25 * stage).to(at::kHalf);
  part.tensors["flags"] = at::tensor({1, 0, 1}).to(at::kBool);
  part.tensors["bytes"] = at::full({3}, stage, at::kByte);
  part.tensors["reported"] = at::full({1}, cut, at::kLong);
  part.tensors["nothing"] = at::empty({0});
  return part;
}

inline CheckpointWriter::Setup test_setup(const std::filesystem::path& folder, int stages) {
  return {.folder = folder,
          .stages = stages,
          .identity = test_identity(),
          .before_publication = nullptr};
}

/// A complete checkpoint.
inline std::filesystem::path write_checkpoint(const std::filesystem::path& folder, int stages,
                                              std::int64_t cut) {
  CheckpointWriter writer(test_setup(folder, stages));
  for (int stage = 0; stage < stages; ++stage) writer.write(test_part(stage, cut));
  std::string name = std::to_string(cut);
  name.insert(0, 8 - name.size(), '0');
  return folder / ("update-" + name);
}

}  // namespace penstock::checkpoint
