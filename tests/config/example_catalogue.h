#pragma once
// A catalogue with the shape of the real one, for the tests of the configuration.

#include <cstdint>

#include "base/error.h"
#include "config/catalogue.h"
#include "config/option.h"

namespace penstock::config {

struct PlainOptions {
  double lr = 0;
  double weight_decay = 0;
  double beta = 0;
};

struct MatrixOptions {
  double lr = 0;
  double weight_decay = 0;
  double momentum = 0;
  bool nesterov = false;
};

struct CorrectionOptions {
  double lambda = 0;
};

inline OptionTable<PlainOptions> plain_options() {
  OptionTable<PlainOptions> table;
  table.real("lr", &PlainOptions::lr, 3e-4, Range::at_least(0), "peak learning rate")
      .real("weight_decay", &PlainOptions::weight_decay, 0.0, Range::at_least(0), "decay")
      .real("beta", &PlainOptions::beta, 0.9, Range::below(0, 1), "averaging");
  return table;
}

inline OptionTable<MatrixOptions> matrix_options() {
  OptionTable<MatrixOptions> table;
  table.real("lr", &MatrixOptions::lr, 0.02, Range::at_least(0), "peak learning rate")
      .real("weight_decay", &MatrixOptions::weight_decay, 0.1, Range::at_least(0), "decay")
      .real("momentum", &MatrixOptions::momentum, 0.95, Range::below(0, 1), "momentum")
      .flag("nesterov", &MatrixOptions::nesterov, true, "look ahead");
  return table;
}

inline OptionTable<CorrectionOptions> correction_options() {
  OptionTable<CorrectionOptions> table;
  table.real("lambda", &CorrectionOptions::lambda, 1.0, Range::between(0, 2), "strength");
  return table;
}

inline Catalogue example_catalogue() {
  Catalogue catalogue;
  catalogue.optimizers = {{"adamw", "adaptive steps", "Paper A", plain_options().specs(), false},
                          {"muon", "orthogonal steps", "", matrix_options().specs(), true}};
  catalogue.corrections = {
      {"none", "as it is", "", {}, false},
      {"error_feedback", "adds what was missed", "Paper B", correction_options().specs(), false},
      {"hindsight", "compares weights", "", {}, false, true}};
  const auto at_least_one_each = [](auto stages, auto micro_batches, auto) {
    return micro_batches < stages ? std::string("'2bw' has too few micro-batches; set more")
                                  : std::string();
  };
  const auto no_delay = [](auto, auto, auto) { return std::string("'1f1b' has no delay"); };
  ScheduleSpec flushed{
      .name = "1f1b", .summary = "with flush", .complaint_about_sync_steps = no_delay};
  ScheduleSpec async{.name = "2bw", .summary = "without flush", .complaint = at_least_one_each};
  ScheduleSpec gpipe{.name = "gpipe", .summary = "all forwards first"};
  ScheduleSpec looped{.name = "looped", .summary = "two chunks", .default_chunks = 2};
  ScheduleSpec lone{
      .name = "lone", .summary = "each alone", .updates_together = false, .stashes_weights = false};
  catalogue.schedules = {flushed, async, gpipe, looped, lone};
  catalogue.read_grid = [](const std::string& path) {
    if (path == "missing.grid") throw user_error("grid", "there is no such file; give another");
    return ScheduleSpec{.name = path, .summary = "from a file", .default_chunks = 3};
  };
  return catalogue;
}

}  // namespace penstock::config
