#pragma once
// A catalogue with the shape of the real one, for the tests of the configuration.

#include <cstdint>

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
      {"error_feedback", "adds what was missed", "Paper B", correction_options().specs(), false}};
  catalogue.schedules = {{"1f1b", "with flush", true},
                         {"2bw", "without flush", true},
                         {"gpipe", "all forwards first", false}};
  return catalogue;
}

}  // namespace penstock::config
