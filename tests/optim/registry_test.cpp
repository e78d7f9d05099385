#include "optim/registry.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <string>

#include "optim/trajectory.h"

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

TEST(OptimizerRegistry, HoldsTheNamesOfTheConfiguration) {
  std::set<std::string> names;
  for (const auto& entry : registry()) names.insert(entry.spec.name);
  for (const char* name : {"sgd", "signum", "adamw", "nadamw", "lion", "adan", "mars", "muon",
                           "normuon", "soap", "scion", "basis_rotation"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(OptimizerRegistry, EveryOptimizerMeetsItsContract) {
  for (const auto& entry : registry()) {
    SCOPED_TRACE(entry.spec.name);
    const auto made = tests::optimizer(entry.spec.name);
    EXPECT_FALSE(entry.spec.summary.empty());
    EXPECT_FALSE(entry.spec.source.empty());
    for (const auto& option : entry.spec.options) EXPECT_FALSE(option.help.empty()) << option.key;
    EXPECT_GE(made->peak_momentum(), 0);
    EXPECT_LT(made->peak_momentum(), 1);
    if (!made->couples_weight_decay()) {
      EXPECT_LT(made->keep({.step = 2, .lr = 0.1, .weight_decay = 0.1}), 1);
    }
    EXPECT_EQ(made->keep({.lr = 0.1, .weight_decay = 0}), 1);
    // state of tensors without memory
    const auto meta = at::empty({6, 4}, at::device(at::kMeta));
    const auto real = at::empty({6, 4});
    EXPECT_EQ(tests::state_bytes_per_element(made->init(meta), meta),
              tests::state_bytes_per_element(made->init(real), real));
    // half a run, a checkpoint, the other half: with numbers and tensors of both kinds of state
    tests::expect_continues(*made, *tests::correction("weight_prediction"), {7, 13});
    const auto adaptive = tests::correction("dc_asgd", {{"variant", std::string("adaptive")}});
    tests::expect_continues(*made, *adaptive, {13, 7});
  }
}

TEST(OptimizerRegistry, MomentumOfTheContextIsUsedByEveryOptimizerThatHasOne) {
  const tests::Problem own({6, 10});
  const tests::Problem scheduled({6, 10}, true);
  for (const auto& entry : registry()) {
    const auto made = tests::optimizer(entry.spec.name);
    if (made->peak_momentum() == 0) continue;
    EXPECT_GT(tests::worst_error(tests::run(scheduled, *made, 0, tests::Path::sweep),
                                 tests::run(own, *made, 0, tests::Path::sweep)),
              1e-4)
        << entry.spec.name;
  }
}

TEST(OptimizerRegistry, AnUnknownNameIsAMistakeOfTheProgram) {
  EXPECT_THROW(make({"nadam", {}}), std::logic_error);
}

}  // namespace
}  // namespace penstock::optim
