#pragma once
// One function per command. Each adds its subcommand to `root`; the work happens in the
// subcommand's callback, and errors leave it as exceptions that main() turns into exit codes.

#include <CLI/CLI.hpp>

namespace penstock::cli {

/// Without `runs` it only takes its arguments: launch reads them as its ranks will.
void add_train_command(CLI::App& root, bool runs = true);
void add_tokenize_command(CLI::App& root);
void add_generate_command(CLI::App& root);
void add_schedule_command(CLI::App& root);
void add_optimizers_command(CLI::App& root);
void add_simulate_command(CLI::App& root);
void add_plan_command(CLI::App& root);
void add_trace_command(CLI::App& root);
void add_launch_command(CLI::App& root);
void add_bench_command(CLI::App& root);
void add_version_command(CLI::App& root);

}  // namespace penstock::cli
