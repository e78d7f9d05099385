#include "base/operation_profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

namespace penstock {
namespace {

using Clock = std::chrono::steady_clock;

/// Takes at least this long, and returns how long it took.
double spend(double seconds) {
  const auto begin = Clock::now();
  double elapsed = 0;
  while (elapsed < seconds) {
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  return elapsed;
}

const OperationProfile::Entry& entry(const OperationProfile& profile, const std::string& part,
                                     const std::string& name) {
  for (const auto& found : profile.entries()) {
    if (found.part == part && found.name == name) return found;
  }
  throw std::out_of_range(part + ": " + name);
}

TEST(OperationProfile, SumsCallsAndWork) {
  OperationProfile profile;
  const OperationProfile::Recording recording(profile);
  for (int call = 0; call < 3; ++call) {
    const OperationTimer timer("product", {.flops = 100, .bytes = 8});
  }
  const OperationTimer other("norm", {.bytes = 5});
  ASSERT_EQ(profile.entries().size(), 1u);  // the other has not ended
  const auto& product = entry(profile, "", "product");
  EXPECT_EQ(product.calls, 3);
  EXPECT_EQ(product.work.flops, 300);
  EXPECT_EQ(product.work.bytes, 24);
}

TEST(OperationProfile, CountsTimeOnceWhereOperationsNest) {
  OperationProfile profile;
  double inside = 0;
  const auto begin = Clock::now();
  {
    const OperationProfile::Recording recording(profile);
    const OperationTimer outer("outer", {});
    spend(0.002);
    for (int call = 0; call < 2; ++call) {
      const OperationTimer middle("middle", {});
      const OperationTimer inner("inner", {});
      inside += spend(0.005);
    }
    spend(0.002);
  }
  const double all = std::chrono::duration<double>(Clock::now() - begin).count();
  const double outer = entry(profile, "", "outer").seconds;
  const double middle = entry(profile, "", "middle").seconds;
  const double inner = entry(profile, "", "inner").seconds;
  EXPECT_GE(inner, inside);
  EXPECT_GE(outer, 0.004);
  EXPECT_GE(middle, 0);
  // Together no more than the clock says: that is, nothing twice.
  EXPECT_LE(outer + middle + inner, all);
}

TEST(OperationProfile, TimersThatFollowEachOtherInsideOfAnotherAreAllTakenOff) {
  OperationProfile profile;
  const OperationProfile::Recording recording(profile);
  const auto begin = Clock::now();
  {
    const OperationTimer outer("outer", {});
    {
      const OperationTimer first("first", {});
      spend(0.005);
    }
    {
      const OperationTimer second("second", {});
      spend(0.005);
    }
  }
  const double all = std::chrono::duration<double>(Clock::now() - begin).count();
  EXPECT_LE(entry(profile, "", "outer").seconds, all - 0.01);
}

TEST(OperationProfile, KeepsPartsApart) {
  OperationProfile profile;
  const OperationProfile::Recording recording(profile);
  const auto time = [](const char* name) { const OperationTimer timer(name, {}); };
  {
    const ProgramPart attention("attention");
    time("norm");
    {
      const ProgramPart mlp("mlp");
      time("norm");
      time("norm");
    }
    time("product");
  }
  time("norm");
  ASSERT_EQ(profile.entries().size(), 4u);  // in the order of first calls
  EXPECT_STREQ(profile.entries()[0].part, "attention");
  EXPECT_STREQ(profile.entries()[2].name, "product");
  EXPECT_EQ(entry(profile, "attention", "norm").calls, 1);
  EXPECT_EQ(entry(profile, "mlp", "norm").calls, 2);
  EXPECT_EQ(entry(profile, "attention", "product").calls, 1);
  EXPECT_EQ(entry(profile, "", "norm").calls, 1);
}

TEST(OperationProfile, EqualNamesAreOneEntryWhereverTheirTextsAre) {
  OperationProfile profile;
  const OperationProfile::Recording recording(profile);
  const std::string a = "adamw", b = "adamw";
  { const OperationTimer timer(a.c_str(), {}); }
  { const OperationTimer timer(b.c_str(), {}); }
  ASSERT_EQ(profile.entries().size(), 1u);
  EXPECT_EQ(profile.entries()[0].calls, 2);
}

TEST(OperationProfile, WithoutARecordingNothingIsKept) {
  OperationProfile profile;
  { const OperationTimer before("before", {}); }
  {
    const OperationProfile::Recording recording(profile);
    const OperationTimer during("during", {});
  }
  {
    const ProgramPart part("part");
    const OperationTimer after("after", {});
  }
  ASSERT_EQ(profile.entries().size(), 1u);
  EXPECT_STREQ(profile.entries()[0].name, "during");
  profile.clear();
  EXPECT_TRUE(profile.entries().empty());
}

TEST(OperationProfile, ARecordingEndsWithTheOneBeforeItInPlace) {
  OperationProfile outer, inner;
  const OperationProfile::Recording recording(outer);
  {
    const OperationProfile::Recording other(inner);
    const OperationTimer timer("inner", {});
  }
  { const OperationTimer timer("outer", {}); }
  ASSERT_EQ(outer.entries().size(), 1u);
  EXPECT_STREQ(outer.entries()[0].name, "outer");
  ASSERT_EQ(inner.entries().size(), 1u);
}

TEST(OperationProfile, ThreadsHaveTheirOwn) {
  OperationProfile here, there;
  const OperationProfile::Recording recording(here);
  std::thread([&] {
    { const OperationTimer timer("nobody's", {}); }
    const OperationProfile::Recording other(there);
    const OperationTimer timer("there", {});
  }).join();
  { const OperationTimer timer("here", {}); }
  ASSERT_EQ(here.entries().size(), 1u);
  EXPECT_STREQ(here.entries()[0].name, "here");
  ASSERT_EQ(there.entries().size(), 1u);
  EXPECT_STREQ(there.entries()[0].name, "there");
}

}  // namespace
}  // namespace penstock
