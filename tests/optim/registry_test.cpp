#include "optim/registry.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "optim/helpers.h"

namespace penstock::optim {
namespace {

TEST(OptimizerRegistry, TheDefaultTakesEveryParameter) {
  EXPECT_EQ(registry().front().spec.name, "adamw");
  EXPECT_FALSE(registry().front().spec.takes_matrices_only);
}

TEST(OptimizerRegistry, EveryEntryCanBeMadeFromItsDefaults) {
  std::set<std::string> names;
  for (const auto& entry : registry()) {
    EXPECT_TRUE(names.insert(entry.spec.name).second) << entry.spec.name << " is there twice";
    const auto made = tests::optimizer(entry.spec.name);
    EXPECT_GT(made->peak_lr(), 0);
    const auto empty_options = make({entry.spec.name, {}});
    EXPECT_EQ(empty_options->peak_lr(), made->peak_lr());
  }
}

TEST(OptimizerRegistry, AnUnknownNameIsAMistakeOfTheProgram) {
  EXPECT_THROW(make({"nadam", {}}), std::logic_error);
}

}  // namespace
}  // namespace penstock::optim
