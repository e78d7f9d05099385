#include "train/run_data.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/loader.h"
#include "support/engine_run.h"
#include "support/temporary_folder.h"

namespace penstock::train {
namespace {

using support::TemporaryFolder;
using Ids = std::vector<std::int64_t>;

constexpr std::int64_t seq = 8;

/// A folder with a shard of the tokens 0, 1, 2, ... for training and one for validation.
class RunDataTest : public testing::Test {
 protected:
  RunDataTest() {
    write("train.bin", 0, 8 * 37 + 1);
    write("val.bin", 300, 8 * 11 + 1);
  }

  void write(const std::string& name, std::uint16_t first, std::uint16_t count) {
    std::string bytes;
    for (std::uint16_t id = first; id < first + count; ++id) {
      bytes.push_back(static_cast<char>(id & 0xff));
      bytes.push_back(static_cast<char>(id >> 8));
    }
    folder_.write(name, bytes);
  }

  config::Config config(std::vector<std::string> settings = {}) const {
    const auto path = [&](const char* name) { return (folder_ / name).string(); };
    std::vector<std::string> all{"model.vocab=400",
                                 "model.seq=8",
                                 "data.tokenizer=\"bytes\"",
                                 "data.train=" + path("train.bin"),
                                 "data.val=" + path("val.bin"),
                                 "data.cache=" + path("cache"),
                                 "pipeline.micro_batches=3",
                                 "pipeline.micro_batch=4"};
    all.insert(all.end(), settings.begin(), settings.end());
    return tests::small_config(all);
  }

  const TemporaryFolder folder_;
};

Ids values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<std::int64_t>(),
          tensor.const_data_ptr<std::int64_t>() + tensor.numel()};
}

/// Sequences [first, first + count) of the loader, inputs or targets.
Ids sequences(data::Loader& loader, std::int64_t first, std::int64_t count, bool targets) {
  Ids all;
  Ids in(seq), out(seq);
  for (std::int64_t k = first; k < first + count; ++k) {
    loader.sequence(k, in, out);
    const Ids& chosen = targets ? out : in;
    all.insert(all.end(), chosen.begin(), chosen.end());
  }
  return all;
}

TEST_F(RunDataTest, MicroBatchesAreTheLoadersSequencesInOrder) {
  const auto c = config({"train.seed=5"});
  const RunData data(c, {});
  const auto source = data.source_factory()();
  data::Loader loader(data.prepared().train, {.seq = seq, .seed = 5});
  // 12 sequences a batch, 37 an epoch: the micro-batches 9 and 18 have the ends of epochs inside.
  for (std::int64_t batch = 0; batch < 7; ++batch) {
    for (std::int64_t j = 0; j < 3; ++j) {
      const auto given = source->training(batch, j);
      const std::int64_t first = (batch * 3 + j) * 4;
      EXPECT_EQ(given.sequences, 4);
      EXPECT_EQ(values(given.inputs), sequences(loader, first, 4, false)) << first;
      EXPECT_EQ(values(given.targets), sequences(loader, first, 4, true)) << first;
      EXPECT_EQ(given.gradient_scale, 1.0 / (3 * 4 * 8));
    }
  }
}

TEST_F(RunDataTest, TheSeedOrdersTheTraining) {
  const auto five = config({"train.seed=5"});
  const auto six = config({"train.seed=6"});
  const RunData data(five, {});
  const RunData other(six, {});
  EXPECT_NE(values(data.source_factory()()->training(0, 0).inputs),
            values(other.source_factory()()->training(0, 0).inputs));
  EXPECT_EQ(values(data.source_factory()()->validation(0).inputs),
            values(other.source_factory()()->validation(0).inputs));
}

TEST_F(RunDataTest, StagesReadTheSameWhateverTheirOrder) {
  const auto c = config();
  const RunData data(c, {});
  const auto make = data.source_factory();
  const auto forwards = make();
  const auto backwards = make();
  std::vector<Ids> expected;
  for (std::int64_t k = 0; k < 30; ++k) {
    expected.push_back(values(forwards->training(k / 3, k % 3).inputs));
  }
  for (std::int64_t k = 29; k >= 0; --k) {
    EXPECT_EQ(values(backwards->training(k / 3, k % 3).inputs),
              expected[static_cast<std::size_t>(k)]);
  }
}

TEST_F(RunDataTest, AnEpochHasEverySequenceOnce) {
  const auto c = config({"pipeline.micro_batch=37", "pipeline.micro_batches=2"});
  const RunData data(c, {});
  EXPECT_EQ(data.training_sequences(), 37);
  const auto source = data.source_factory()();
  for (std::int64_t j = 0; j < 2; ++j) {
    const Ids ids = values(source->training(0, j).inputs);
    EXPECT_EQ(std::set<std::int64_t>(ids.begin(), ids.end()).size(), 37U * 8U);
  }
}

TEST_F(RunDataTest, TheLastValidationMicroBatchHasTheRest) {
  const auto c = config({"train.eval_sequences=0"});
  const RunData data(c, {});
  EXPECT_EQ(data.validation_sequences(), 11);
  EXPECT_EQ(data.validation_micro_batches(), 3);
  const auto source = data.source_factory()();
  Ids all;
  for (const auto& [number, size] : {std::pair{0, 4}, {1, 4}, {2, 3}}) {
    const auto batch = source->validation(number);
    EXPECT_EQ(batch.sequences, size);
    EXPECT_EQ(batch.inputs.numel(), size * seq);
    EXPECT_EQ(batch.targets.numel(), size * seq);
    const Ids ids = values(batch.inputs);
    all.insert(all.end(), ids.begin(), ids.end());
    EXPECT_EQ(values(batch.targets).back(), ids.back() + 1);
  }
  Ids expected(88);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = 300 + static_cast<long>(i);
  EXPECT_EQ(all, expected);
}

TEST_F(RunDataTest, EvaluationsCanBeLimited) {
  const auto limited = config({"train.eval_sequences=5"});
  const RunData data(limited, {});
  EXPECT_EQ(data.validation_sequences(), 5);
  EXPECT_EQ(data.validation_micro_batches(), 2);
  EXPECT_EQ(data.source_factory()()->validation(1).sequences, 1);
  const auto generous = config({"train.eval_sequences=500"});
  EXPECT_EQ(RunData(generous, {}).validation_sequences(), 11);
}

TEST_F(RunDataTest, WithoutValidationDataThereIsNone) {
  const auto c = config({"data.val=[]", "data.val_fraction=0"});
  const RunData data(c, {});
  EXPECT_EQ(data.validation_sequences(), 0);
  EXPECT_EQ(data.validation_micro_batches(), 0);
  EXPECT_EQ(data.source_factory()()->training(0, 0).sequences, 4);
}

TEST_F(RunDataTest, WithoutUpdatesNoDataIsNeeded) {
  const auto c = config({"data.train=[]", "data.val=[]", "train.steps=0", "train.warmup=0"});
  const RunData data(c, {});
  EXPECT_EQ(data.validation_micro_batches(), 0);
  EXPECT_FALSE(data.prepared().tokenizer);
  EXPECT_TRUE(data.source_factory()());
}

TEST_F(RunDataTest, TheMarkStandsForLibTorchsFolder) {
  const auto c =
      config({"data.train=\"{torch}/version.py\"", "data.val=[]", "data.val_fraction=0"});
  const RunData data(c, {});
  EXPECT_GT(data.prepared().tokens, 50U);
  EXPECT_TRUE(data.prepared().tokenizer);
}

TEST_F(RunDataTest, ErrorsAreTheDatas) {
  const auto c = config({"data.train=" + (folder_ / "none.bin").string()});
  try {
    const RunData data(c, {});
    FAIL() << "a missing shard is an error";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()),
              "[data] '" + (folder_ / "none.bin").string() + "' does not exist; check the path");
  }
}

}  // namespace
}  // namespace penstock::train
