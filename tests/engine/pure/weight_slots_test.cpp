#include "engine/weight_slots.h"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace penstock::engine {
namespace {

using Slots = WeightSlots<std::string>;

void publish(Slots& slots, std::int64_t version) {
  auto lease = slots.write(version);
  lease.next() = "W" + std::to_string(version);
  lease.publish();
}

TEST(WeightSlots, TwoSlotsKeepTheTwoNewestVersions) {
  Slots slots({"W0", ""});
  publish(slots, 1);
  EXPECT_EQ(*slots.read(0), "W0");
  EXPECT_EQ(*slots.read(1), "W1");
  publish(slots, 2);
  EXPECT_EQ(*slots.read(1), "W1");
  EXPECT_EQ(*slots.read(2), "W2");
  EXPECT_THROW(slots.read(0), VersionError);
}

TEST(WeightSlots, ReadingAVersionThatDoesNotExistYetIsRefused) {
  Slots slots({"W0", ""});
  try {
    slots.read(1);
    FAIL();
  } catch (const VersionError& error) {
    EXPECT_STREQ(error.what(), "weights W(1) are asked for, but their slot holds nothing");
  }
}

TEST(WeightSlots, ASlotWithReadersIsNotOverwritten) {
  Slots slots({"W0", ""});
  publish(slots, 1);
  const auto reader = slots.read(0);
  try {
    slots.write(2);
    FAIL();
  } catch (const VersionError& error) {
    EXPECT_STREQ(error.what(), "weights W(2) are to overwrite W(0), which has 1 readers");
  }
  EXPECT_EQ(*reader, "W0");
}

TEST(WeightSlots, TheSlotIsFreeOnceItsReadersHaveGone) {
  Slots slots({"W0"});
  {
    auto reader = slots.read(0);
    auto moved = std::move(reader);
    EXPECT_THROW(slots.write(1), VersionError);
  }
  publish(slots, 1);
  EXPECT_EQ(*slots.read(1), "W1");
}

TEST(WeightSlots, VersionsAreWrittenInOrder) {
  Slots slots({"W0", ""});
  EXPECT_THROW(slots.write(2), VersionError);
  EXPECT_THROW(slots.write(0), VersionError);
}

TEST(WeightSlots, AnUnpublishedVersionCannotBeRead) {
  Slots slots({"W0", ""});
  { [[maybe_unused]] const auto lease = slots.write(1); }
  EXPECT_THROW(slots.read(1), VersionError);
  EXPECT_EQ(slots.newest(), 0);
}

TEST(WeightSlots, NewestIsWhatTheNextVersionIsMadeFrom) {
  Slots slots({"W0", ""});
  publish(slots, 1);
  auto lease = slots.write(2);
  EXPECT_EQ(lease.newest(), "W1");
  EXPECT_NE(&lease.next(), &lease.newest());
}

TEST(WeightSlots, EveryReaderIsCounted) {
  Slots slots({"W0"});
  auto first = std::make_unique<Slots::ReadLease>(slots.read(0));
  auto second = std::make_unique<Slots::ReadLease>(slots.read(0));
  Slots::ReadLease third = slots.read(0);
  third = std::move(*first);  // which leaves one reader in each of two of them
  first.reset();
  EXPECT_THROW(slots.write(1), VersionError);
  second.reset();
  try {
    slots.write(1);
    FAIL();
  } catch (const VersionError& error) {
    EXPECT_STREQ(error.what(), "weights W(1) are to overwrite W(0), which has 1 readers");
  }
  EXPECT_EQ(*slots.read(0), "W0") << "a refused writer leaves the version as it was";
}

TEST(WeightSlots, AWriterThatFailsLeavesNothingHalfNew) {
  Slots slots({"W0", ""});
  publish(slots, 1);
  try {
    auto lease = slots.write(2);
    lease.next() = "half of W2";
    throw std::runtime_error("out of memory");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(slots.newest(), 1);
  EXPECT_EQ(slots.versions(), std::vector<std::int64_t>{1});
  EXPECT_THROW(slots.read(0), VersionError) << "its slot has been written to";
  EXPECT_THROW(slots.read(2), VersionError);
  EXPECT_THROW(slots.peek(2), VersionError);
  EXPECT_EQ(*slots.read(1), "W1");
  publish(slots, 2);  // another attempt
  EXPECT_EQ(*slots.read(2), "W2");
}

TEST(WeightSlots, TheOnlySlotCannotBeReadWhileItIsWritten) {
  Slots slots({"W0"});
  auto lease = slots.write(1);
  EXPECT_EQ(&lease.next(), &lease.newest());
  EXPECT_THROW(slots.read(0), VersionError);
  EXPECT_TRUE(slots.versions().empty());
  lease.publish();
  EXPECT_EQ(slots.versions(), std::vector<std::int64_t>{1});
}

TEST(WeightSlots, NamesTheVersionsItHolds) {
  Slots slots({"W0", "", ""});
  EXPECT_EQ(slots.versions(), std::vector<std::int64_t>{0});
  for (const std::int64_t version : {1, 2, 3, 4}) publish(slots, version);
  EXPECT_EQ(slots.versions(), (std::vector<std::int64_t>{2, 3, 4}));
  EXPECT_EQ(slots.peek(3), "W3");
  try {
    slots.peek(1);
    FAIL();
  } catch (const VersionError& error) {
    EXPECT_STREQ(error.what(), "weights W(1) are asked for, but no slot holds them");
  }
}

TEST(WeightSlots, AreRestoredToTheGivenVersionsAlone) {
  const auto fill = [](std::int64_t version, std::string& value) {
    value = "saved W" + std::to_string(version);
  };
  Slots slots({"W0", "", ""});
  slots.restore({8, 7}, fill);
  EXPECT_EQ(slots.newest(), 8);
  EXPECT_EQ(slots.versions(), (std::vector<std::int64_t>{7, 8}));
  EXPECT_EQ(*slots.read(7), "saved W7");
  EXPECT_THROW(slots.read(0), VersionError);
  publish(slots, 9);
  EXPECT_EQ(slots.versions(), (std::vector<std::int64_t>{7, 8, 9}));
  EXPECT_THROW(slots.restore({6, 9}, fill), VersionError) << "both belong into one slot";
}

TEST(WeightSlots, AVersionThatIsReadIsNotRestoredOver) {
  Slots slots({"W0", ""});
  const auto reader = slots.read(0);
  EXPECT_THROW(slots.restore({2}, [](std::int64_t, std::string&) {}), VersionError);
}

}  // namespace
}  // namespace penstock::engine
