#include "data/corpus_cache.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "data/helpers.h"
#include "support/temporary_folder.h"

namespace penstock::data {
namespace {

namespace fs = std::filesystem;

class CorpusCacheTest : public ::testing::Test {
 protected:
  CorpusCacheTest() {
    for (int i = 0; i < 6; ++i) folder_.write(fmt::format("text/{}", i), fmt::format("text {}", i));
    request_.train = {(folder_ / "text").string()};
  }

  CachedCorpus open() const { return open_cached(cache_, request_); }

  std::vector<fs::path> entries() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(cache_)) found.push_back(entry.path());
    return found;
  }

  support::TemporaryFolder folder_;
  fs::path cache_ = folder_ / "deep/cache";
  TokenizeRequest request_;
};

TEST_F(CorpusCacheTest, MakesAnEntryOnce) {
  EXPECT_FALSE(open().was_there);
  const CachedCorpus again = open();
  EXPECT_TRUE(again.was_there);
  EXPECT_EQ(again.shards.summary->documents(), 6U);
  EXPECT_EQ(entries().size(), 1U);
}

TEST_F(CorpusCacheTest, NoticesEveryChange) {
  open();
  const fs::path file = folder_ / "text/3";
  const auto time = fs::last_write_time(file);
  folder_.write("text/3", "longer text 3");
  fs::last_write_time(file, time);
  EXPECT_FALSE(open().was_there) << "size";
  fs::last_write_time(file, fs::last_write_time(file) - std::chrono::seconds(7));
  EXPECT_FALSE(open().was_there) << "time";
  fs::rename(file, folder_ / "text/7");
  EXPECT_FALSE(open().was_there) << "name";
  fs::remove(folder_ / "text/7");
  EXPECT_FALSE(open().was_there) << "number of files";
  const auto changed = [&](auto change) {
    TokenizeRequest other = request_;
    change(other);
    return !open_cached(cache_, other).was_there;
  };
  EXPECT_TRUE(changed([](auto& r) { r.val_fraction = 0.5; }));
  EXPECT_TRUE(changed([](auto& r) { r.separator = "x"; }));
  EXPECT_TRUE(changed([](auto& r) { r.tokenizer = "bpe", r.vocabulary = 260; }));
  EXPECT_TRUE(changed([](auto& r) { r.tokenizer = "bpe", r.vocabulary = 261; }));
  EXPECT_TRUE(changed([&](auto& r) { r.val = {(folder_ / "text/1").string()}; }));
  EXPECT_TRUE(changed([](auto& r) { r.shard_tokens = 1000; }));
  EXPECT_TRUE(changed([](auto& r) { r.single_document = SingleDocument::train_on_it; }));
  EXPECT_FALSE(changed([](auto& r) { r.vocabulary = 99; })) << "bytes have no wanted vocabulary";
  EXPECT_TRUE(open().was_there);
}

TEST_F(CorpusCacheTest, MakesDamagedEntriesAnew) {
  open();
  const fs::path entry = entries().front();
  for (const char* name : {"summary.json", "tokenizer.json", "train-000.tokens"}) {
    fs::resize_file(entry / name, 10);
    EXPECT_FALSE(open().was_there) << name;
    EXPECT_TRUE(open().was_there) << name;
    fs::remove(entry / name);
    EXPECT_FALSE(open().was_there) << name;
    EXPECT_TRUE(open().was_there) << name;
  }
  EXPECT_EQ(entries().size(), 1U);
}

TEST_F(CorpusCacheTest, ManyAtOnceAllSucceed) {
  std::vector<std::thread> threads;
  std::vector<std::uint64_t> documents(8);
  for (std::uint64_t& count : documents) {
    threads.emplace_back([&] { count = open().shards.summary->documents(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(documents, std::vector<std::uint64_t>(8, 6));
  EXPECT_EQ(entries().size(), 1U);
}

TEST_F(CorpusCacheTest, LeavesNothingAfterAnErrorAndRemovesOldLeftovers) {
  request_.progress = [](std::string_view, double) { throw std::runtime_error("stop"); };
  EXPECT_THROW(open(), std::runtime_error);
  EXPECT_TRUE(entries().empty());
  const fs::path old = cache_ / ".0123456789abcdef.aBcDeF";
  const fs::path fresh = cache_ / ".0123456789abcdef.gHiJkL";
  fs::create_directory(old);
  fs::create_directory(fresh);
  fs::last_write_time(old, fs::file_time_type::clock::now() - std::chrono::hours(25));
  request_.progress = {};
  open();
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(fresh));
}

}  // namespace
}  // namespace penstock::data
