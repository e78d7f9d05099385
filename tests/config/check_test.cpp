#include "config/check.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "example_catalogue.h"

namespace penstock::config {
namespace {

/// Four layers, that is ten units; 4 * 2 * 16 = 128 tokens per update.
constexpr const char* base = R"(
[model]
layers = 4
width = 64
heads = 4
kv_heads = 2
ff = 128
vocab = 300
seq = 16
[data]
train = "a.txt"
[pipeline]
stages = 2
schedule = "2bw"
micro_batches = 4
micro_batch = 2
[train]
)";

std::string check_of(const std::vector<std::string>& overrides) {
  try {
    (void)parse(base, "run.toml", overrides, example_catalogue());
  } catch (const UserError& error) {
    return error.what();
  }
  return "fine";
}

/// With a length, so that only the rule in question is broken.
std::string check_run(std::vector<std::string> overrides) {
  overrides.emplace_back("train.steps=10");
  return check_of(overrides);
}

TEST(Check, BaseIsFine) { EXPECT_EQ(check_run({}), "fine"); }

TEST(Check, Heads) {
  EXPECT_EQ(check_run({"model.width=66"}),
            "[config] model.width = 66 is not a multiple of model.heads = 4; set model.width = 68");
  EXPECT_EQ(check_run({"model.width=60"}),
            "[config] a head's width is model.width / model.heads = 60 / 4 = 15, but rotary "
            "embedding needs an even one; change model.width or model.heads");
  EXPECT_EQ(check_run({"model.kv_heads=3"}),
            "[config] model.heads = 4 is not a multiple of model.kv_heads = 3; set model.kv_heads "
            "to a divisor of 4");
}

TEST(Check, Tokenizer) {
  EXPECT_EQ(check_run({"model.vocab=257"}), "fine");
  EXPECT_EQ(check_run({"model.vocab=256"}),
            "[config] data.tokenizer = \"bytes\" has at least 257 tokens (256 bytes and the "
            "document mark), but model.vocab = 256; set model.vocab = 257 or more");
  EXPECT_EQ(check_run({"model.vocab=100", "data.tokenizer=bpe"}),
            "[config] data.tokenizer = \"bpe\" has at least 257 tokens (256 bytes and the "
            "document mark), but model.vocab = 100; set model.vocab = 257 or more");
  EXPECT_EQ(check_run({"model.vocab=100", "data.tokenizer=own.json"}), "fine");
  EXPECT_EQ(check_run({"data.tokenizer="}),
            "[config] data.tokenizer is empty; set it to \"bytes\", \"bpe\" or a tokenizer's file");
}

TEST(Check, MicroBatchesCoverTheStages) {
  EXPECT_EQ(check_run({"pipeline.micro_batches=2"}), "fine");
  EXPECT_EQ(check_run({"pipeline.micro_batches=1"}),
            "[config] '2bw' has too few micro-batches; set more");
  EXPECT_EQ(check_run({"pipeline.micro_batches=1", "pipeline.schedule=gpipe"}), "fine");
}

TEST(Check, StagesThatUpdateAloneHaveNothingToClipByNorTiedSums) {
  EXPECT_EQ(check_run({"pipeline.schedule=lone", "train.clip=0"}), "fine");
  EXPECT_EQ(check_run({"pipeline.schedule=lone"}),
            "[config] schedule 'lone' updates every stage alone, before the whole model's gradient "
            "norm is known, but train.clip = 1; set train.clip = 0");
  EXPECT_EQ(check_run({"pipeline.schedule=lone", "train.clip=0", "model.tied=true"}),
            "[config] schedule 'lone' updates every stage alone, so the two copies of a tied "
            "embedding would part, but model.tied = true; set model.tied = false");
}

TEST(Check, SyncSteps) {
  EXPECT_EQ(check_run({"pipeline.sync_steps=10"}), "fine");
  EXPECT_EQ(check_run({"pipeline.final_sync_steps=10"}), "fine");
  EXPECT_EQ(check_run({"pipeline.sync_steps=6", "pipeline.final_sync_steps=4"}), "fine");
  EXPECT_EQ(check_run({"pipeline.sync_steps=6", "pipeline.final_sync_steps=5"}),
            "[config] pipeline.sync_steps = 6 and pipeline.final_sync_steps = 5 are together more "
            "than the run of 10 updates; set pipeline.final_sync_steps = 4 or less");
  EXPECT_EQ(check_run({"pipeline.sync_steps=11"}),
            "[config] pipeline.sync_steps = 11 is more than the run of 10 updates; set "
            "pipeline.sync_steps = 10 or less");
  EXPECT_EQ(check_run({"pipeline.final_sync_steps=11"}),
            "[config] pipeline.final_sync_steps = 11 is more than the run of 10 updates; set "
            "pipeline.final_sync_steps = 10 or less");
  EXPECT_EQ(check_of({"train.tokens=384", "pipeline.sync_steps=4"}),
            "[config] pipeline.sync_steps = 4 is more than the run of 3 updates; set "
            "pipeline.sync_steps = 3 or less");
}

TEST(Check, SyncStepsNeedAScheduleWithDelay) {
  EXPECT_EQ(check_run({"pipeline.schedule=1f1b", "pipeline.sync_steps=2"}),
            "[config] pipeline.sync_steps = 2, but '1f1b' has no delay; set pipeline.sync_steps = "
            "0");
  EXPECT_EQ(check_run({"pipeline.schedule=1f1b", "pipeline.final_sync_steps=3"}),
            "[config] pipeline.final_sync_steps = 3, but '1f1b' has no delay; set "
            "pipeline.final_sync_steps = 0");
  EXPECT_EQ(check_run({"pipeline.schedule=1f1b"}), "fine");
}

TEST(Check, EveryChunkHasUnits) {
  EXPECT_EQ(check_run({"pipeline.schedule=looped", "pipeline.stages=5"}), "fine");
  EXPECT_EQ(check_run({"pipeline.schedule=looped", "pipeline.stages=6"}),
            "[config] pipeline.stages = 6 of 2 chunks each, but 4 layers have only 10 units to "
            "distribute (embedding, attention and MLP of each layer, head); set pipeline.stages = "
            "5 or fewer");
  EXPECT_EQ(check_run({"pipeline.schedule=looped", "pipeline.partition=[3,3,2,2]"}), "fine");
  EXPECT_EQ(check_run({"pipeline.schedule=looped", "pipeline.partition=[5,5]"}),
            "[config] pipeline.partition = [5, 5] is for 2 pieces, but pipeline.stages = 2 of 2 "
            "chunks each; give 4 numbers, in the order of the model");
}

TEST(Check, AGridFileIsAScheduleLikeAnyOther) {
  EXPECT_EQ(check_run({"pipeline.schedule=own.grid"}), "fine");
  EXPECT_EQ(check_run({"pipeline.schedule=own.grid", "pipeline.partition=[5,5]"}),
            "[config] pipeline.partition = [5, 5] is for 2 pieces, but pipeline.stages = 2 of 3 "
            "chunks each; give 6 numbers, in the order of the model");
  EXPECT_EQ(check_run({"pipeline.schedule=missing.grid"}),
            "[grid] there is no such file; give another");
}

TEST(Check, StagesHaveUnits) {
  EXPECT_EQ(check_run({"pipeline.stages=10", "pipeline.micro_batches=16"}), "fine");
  EXPECT_EQ(check_run({"pipeline.stages=11", "pipeline.micro_batches=16"}),
            "[config] pipeline.stages = 11, but 4 layers have only 10 units to distribute "
            "(embedding, attention and MLP of each layer, head); set pipeline.stages = 10 or "
            "fewer");
}

TEST(Check, Partition) {
  EXPECT_EQ(check_run({"pipeline.partition=[3,7]"}), "fine");
  EXPECT_EQ(check_run({"pipeline.partition=auto"}), "fine");
  EXPECT_EQ(check_run({"pipeline.partition=[3,3,4]"}),
            "[config] pipeline.partition = [3, 3, 4] is for 3 pieces, but pipeline.stages = 2; "
            "give 2 numbers, in the order of the model");
  EXPECT_EQ(check_run({"pipeline.partition=[3,3]"}),
            "[config] pipeline.partition = [3, 3] distributes 6 units, but 4 layers have 10 "
            "(embedding, attention and MLP of each layer, head); make it sum to 10");
  EXPECT_EQ(check_run({"pipeline.partition=[0,10]"}),
            "[config] pipeline.partition = [0, 10] (--set) is out of range; give \"auto\" or a "
            "list of whole numbers in [1, 1000000]");
}

TEST(Check, FallbackTakesEverything) {
  EXPECT_EQ(check_run({"optimizer.name=muon", "optimizer.fallback.name=muon"}),
            "[config] optimizer.fallback.name = \"muon\" takes matrices only, but the fallback is "
            "for all other parameters; name an optimizer that takes every parameter");
}

TEST(Check, Length) {
  EXPECT_EQ(check_of({}),
            "[config] the length of the run is not given; set train.steps or train.tokens");
  EXPECT_EQ(check_of({"train.steps=10", "train.tokens=1000"}),
            "[config] train.steps = 10 and train.tokens = 1000 are both given; remove one of them");
  EXPECT_EQ(check_of({"train.tokens=128"}), "fine");
  EXPECT_EQ(check_of({"train.tokens=127"}),
            "[config] train.tokens = 127 is less than one update of micro_batches * micro_batch * "
            "seq = 4 * 2 * 16 = 128 tokens; set train.tokens = 128 or more");
  EXPECT_EQ(check_of({"train.steps=1000000000000", "model.seq=1000000",
                      "pipeline.micro_batches=1000000"}),
            "[config] train.steps = 1000000000000 updates of 2000000000000 tokens are more tokens "
            "than can be counted; set a smaller train.steps");
}

TEST(Check, Warmup) {
  EXPECT_EQ(check_run({"train.warmup=10"}), "fine");
  EXPECT_EQ(check_run({"train.warmup=11"}),
            "[config] train.warmup = 11 is longer than the run of 10 updates; set train.warmup = "
            "10 or less");
  EXPECT_EQ(check_of({"train.warmup=2", "train.tokens=128"}),
            "[config] train.warmup = 2 is longer than the run of 1 updates; set train.warmup = 1 "
            "or less");
}

TEST(Check, DecayIsForWsd) {
  EXPECT_EQ(check_run({"train.lr_schedule=wsd", "train.decay=10"}), "fine");
  EXPECT_EQ(check_run({"train.lr_schedule=wsd", "train.decay=6", "train.warmup=4"}), "fine");
  EXPECT_EQ(check_run({"train.lr_schedule=wsd", "train.decay=7", "train.warmup=4"}),
            "[config] train.warmup = 4 and train.decay = 7 are together more than the run of 10 "
            "updates; make their sum 10 or less");
  EXPECT_EQ(check_run({"train.lr_schedule=wsd", "train.decay=11"}),
            "[config] train.warmup = 0 and train.decay = 11 are together more than the run of 10 "
            "updates; make their sum 10 or less");
  EXPECT_EQ(check_run({"train.lr_schedule=wsd"}),
            "[config] train.lr_schedule = \"wsd\" lowers the learning rate over the last "
            "train.decay updates, but train.decay = 0; set it to 1 or more, such as 1");
  EXPECT_EQ(check_of({"train.lr_schedule=wsd", "train.steps=200"}),
            "[config] train.lr_schedule = \"wsd\" lowers the learning rate over the last "
            "train.decay updates, but train.decay = 0; set it to 1 or more, such as 20");
  for (const std::string shape : {"cosine", "linear", "constant"}) {
    EXPECT_EQ(check_run({"train.lr_schedule=" + shape}), "fine");
    EXPECT_EQ(check_run({"train.lr_schedule=" + shape, "train.decay=3"}),
              "[config] train.decay = 3 is for train.lr_schedule = \"wsd\", which is \"" + shape +
                  "\"; set train.decay = 0, or train.lr_schedule = \"wsd\"");
  }
  EXPECT_EQ(check_run({"train.lr_schedule=cosin"}),
            "[config] train.lr_schedule = \"cosin\" (--set) is none of cosine, linear, constant, "
            "wsd; did you mean 'cosine'?");
}

TEST(Check, Momentum) {
  EXPECT_EQ(check_run({"train.momentum_warmup=4", "train.momentum_cooldown=6"}), "fine");
  EXPECT_EQ(check_run({"train.momentum_warmup=4", "train.momentum_cooldown=7"}),
            "[config] train.momentum_warmup = 4 and train.momentum_cooldown = 7 are together more "
            "than the run of 10 updates; make their sum 10 or less");
  EXPECT_EQ(check_run({"train.momentum_cooldown=11"}),
            "[config] train.momentum_warmup = 0 and train.momentum_cooldown = 11 are together more "
            "than the run of 10 updates; make their sum 10 or less");
  EXPECT_EQ(check_of({"train.momentum_warmup=4", "train.steps=0"}), "fine");
  EXPECT_EQ(check_run({"train.momentum_start=1"}),
            "[config] train.momentum_start = 1 (--set) is out of range; give a number in [0, 1)");
  EXPECT_EQ(check_run({"train.momentum_start=nan"}),
            "[config] train.momentum_start = nan (--set) is not finite; give a number in [0, 1)");
}

TEST(Check, ACorrectionFindsTheWeightsItNeeds) {
  EXPECT_EQ(check_run({"correction.name=hindsight"}), "fine");
  EXPECT_EQ(check_run({"pipeline.schedule=lone", "train.clip=0"}), "fine");
  EXPECT_EQ(check_run({"pipeline.schedule=lone", "train.clip=0", "correction.name=hindsight"}),
            "[config] correction 'hindsight' needs the weights that a gradient was taken at, but "
            "schedule 'lone' does not keep them; set pipeline.schedule to one of 1f1b, 2bw, gpipe, "
            "looped, or choose another correction");
}

TEST(Check, Data) {
  EXPECT_EQ(check_run({"data.train=[]"}),
            "[config] there is nothing to train on; set data.train to text files, folders or "
            "token shards");
}

TEST(Check, ShapeWithoutPreset) {
  for (const std::string key : {"layers", "width", "heads", "ff", "vocab", "seq"}) {
    std::string toml = base;
    const auto at = toml.find(key + " = ");
    toml.erase(at, toml.find('\n', at) - at);
    try {
      (void)parse(toml, "run.toml", {"train.steps=1"}, example_catalogue());
      ADD_FAILURE() << key;
    } catch (const UserError& error) {
      EXPECT_EQ(error.what(),
                "[config] model." + key + " is not given; set model.preset or model." + key);
    }
  }
}

}  // namespace
}  // namespace penstock::config
