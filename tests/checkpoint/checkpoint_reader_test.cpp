#include "checkpoint/checkpoint_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

#include "base/error.h"
#include "checkpoint/example_checkpoints.h"
#include "support/temporary_folder.h"

namespace penstock::checkpoint {
namespace {

namespace fs = std::filesystem;
using support::TemporaryFolder;

/// A checkpoint of two stages to be spoilt.
class CheckpointReader : public testing::Test {
 protected:
  /// What verification complains of, between the folder's name and the advice.
  std::string problem() const {
    try {
      verify_checkpoint(path_);
    } catch (const UserError& error) {
      const std::string what = error.what();
      const std::string start = "[resume] checkpoint '" + path_.string() + "' ";
      const std::string end =
          "; put back what was written, or remove the folder and start from an older checkpoint or "
          "anew";
      EXPECT_TRUE(what.starts_with(start)) << what;
      EXPECT_TRUE(what.ends_with(end)) << what;
      return what.substr(start.size(), what.size() - start.size() - end.size());
    }
    return "nothing";
  }

  std::string read(const char* name) const {
    return folder_.read("update-00000040/" + std::string(name));
  }
  void write(const char* name, const std::string& bytes) const {
    folder_.write("update-00000040/" + std::string(name), bytes);
  }

  const TemporaryFolder folder_;
  const fs::path path_ = write_checkpoint(folder_.path(), 2, 40);
};

TEST_F(CheckpointReader, ReadsWhatWasWritten) {
  EXPECT_EQ(problem(), "nothing");
  const Checkpoint checkpoint = read_checkpoint(path_);
  EXPECT_EQ(checkpoint.manifest, verify_checkpoint(path_));
  EXPECT_EQ(checkpoint.manifest.cut, 40);
  EXPECT_EQ(checkpoint.manifest.identity, test_identity());
  ASSERT_EQ(checkpoint.stages.size(), 2U);
  for (int stage = 0; stage < 2; ++stage) {
    const auto expected = test_part(stage, 40).tensors;
    const auto& found = checkpoint.stages[static_cast<std::size_t>(stage)];
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [name, tensor] : expected) {
      const at::Tensor& other = found.at(name);
      EXPECT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
      ASSERT_EQ(other.sizes(), tensor.sizes()) << name;
      if (tensor.nbytes() == 0) continue;
      EXPECT_EQ(0, std::memcmp(other.const_data_ptr(), tensor.const_data_ptr(), tensor.nbytes()))
          << name;
    }
  }
}

TEST_F(CheckpointReader, AMissingFile) {
  fs::remove(path_ / "stage-0001.safetensors");
  EXPECT_EQ(problem(), "lacks 'stage-0001.safetensors'");
  fs::create_directory(path_ / "stage-0001.safetensors");
  EXPECT_EQ(problem(), "lacks 'stage-0001.safetensors'");
}

TEST_F(CheckpointReader, ATruncatedFile) {
  const std::string bytes = read("stage-0000.safetensors");
  write("stage-0000.safetensors", bytes.substr(0, bytes.size() - 1));
  EXPECT_EQ(problem(), "is damaged: 'stage-0000.safetensors' has " +
                           std::to_string(bytes.size() - 1) + " bytes, not " +
                           std::to_string(bytes.size()));
}

TEST_F(CheckpointReader, ADamagedByteAnywhere) {
  const std::string bytes = read("stage-0001.safetensors");
  const std::string expected = fingerprint_of(std::string_view(bytes)).xxh3;
  for (std::size_t i = 0; i < bytes.size(); i += 41) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    write("stage-0001.safetensors", changed);
    EXPECT_EQ(problem(), "is damaged: the bytes of 'stage-0001.safetensors' have the hash " +
                             fingerprint_of(std::string_view(changed)).xxh3 + ", not " + expected)
        << i;
  }
}

TEST_F(CheckpointReader, ForeignFiles) {
  write("stage-0002.safetensors", "x");
  EXPECT_EQ(problem(), "holds 'stage-0002.safetensors', which is none of its files");
  fs::remove(path_ / "stage-0002.safetensors");
  // The stage of another checkpoint, of the same size.
  const TemporaryFolder other;
  const auto foreign = write_checkpoint(other.path(), 2, 41);
  fs::copy_file(foreign / "stage-0000.safetensors", path_ / "stage-0000.safetensors",
                fs::copy_options::overwrite_existing);
  EXPECT_TRUE(problem().starts_with("is damaged: the bytes of 'stage-0000.safetensors'"));
}

TEST_F(CheckpointReader, TheManifestOfAnotherCheckpoint) {
  const TemporaryFolder other;
  const auto foreign = write_checkpoint(other.path(), 2, 41);
  fs::copy_file(foreign / "manifest.json", path_ / "manifest.json",
                fs::copy_options::overwrite_existing);
  EXPECT_EQ(problem(), "has the manifest of another one, of update 41 with 2 of 2 stages");
  Manifest manifest = read_manifest(foreign);
  manifest.cut = 40;
  manifest.stages = 3;
  write("manifest.json", to_json(manifest));
  EXPECT_EQ(problem(), "has the manifest of another one, of update 40 with 2 of 3 stages");
}

TEST_F(CheckpointReader, TheNewestIsTheHighestNumber) {
  EXPECT_EQ(newest_checkpoint(folder_.path()), path_);
  folder_.write("update-00000050.partial/manifest.json", "{}");
  EXPECT_EQ(newest_checkpoint(folder_.path()), path_);
  folder_.write("update-100000000/manifest.json", "{}");
  EXPECT_EQ(newest_checkpoint(folder_.path()), folder_ / "update-100000000");
  EXPECT_FALSE(newest_checkpoint(folder_ / "none"));
}

}  // namespace
}  // namespace penstock::checkpoint
