#include "engine/weight_slots.h"

#include <gtest/gtest.h>

#include <string>

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

}  // namespace
}  // namespace penstock::engine
