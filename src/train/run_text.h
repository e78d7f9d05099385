#pragma once
// What a run tells on the console besides its progress.

#include <ATen/ATen.h>

#include <map>
#include <ostream>
#include <string>

#include "config/config.h"
#include "data/progress.h"
#include "observe/progress.h"
#include "schedule/schedule.h"
#include "train/run_data.h"

namespace penstock::train {

/// To standard error; not worth the run where nobody can read it. Any thread.
void warn(const std::string& text);

/// The resolved configuration, the data, and which stage holds what.
void print_settings(std::ostream& out, const config::Config& config,
                    const schedule::Schedule& schedule, const RunData& data);

/// Shows how far tokenizing is: a line per stage of work, rewritten on a terminal. The arguments
/// must outlive what is returned.
data::Progress show_preparation(std::ostream& out, const observe::Console& console);

/// The weights' continuation of output.sample.
void print_sample(std::ostream& out, const config::Config& config, data::Tokenizer& tokenizer,
                  const std::map<std::string, at::Tensor>& weights);

}  // namespace penstock::train
