// Entry point: commands in, exit codes out (0 done, 1 failed, 2 the user can mend it).

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <system_error>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/parse_error.h"

namespace {

constexpr int exit_failure = 1;
constexpr int exit_user_error = 2;

void add_commands(CLI::App& app) {
  app.name("penstock");
  app.description("Bubble-free, asynchronous pipeline-parallel LLM pretraining.");
  app.footer("Example: penstock train examples/quickstart.toml");
  app.require_subcommand(1);
  penstock::cli::add_train_command(app);
  penstock::cli::add_generate_command(app);
  penstock::cli::add_tokenize_command(app);
  penstock::cli::add_schedule_command(app);
  penstock::cli::add_optimizers_command(app);
  penstock::cli::add_simulate_command(app);
  penstock::cli::add_plan_command(app);
  penstock::cli::add_trace_command(app);
  penstock::cli::add_launch_command(app);
  penstock::cli::add_bench_command(app);
  penstock::cli::add_version_command(app);
}

/// A result that did not arrive is no success. Errors: std::system_error.
void finish_output() {
  std::cout.flush();
  if (std::cout && std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  throw std::system_error(errno != 0 ? errno : EIO, std::generic_category(),
                          "cannot write to the standard output");
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond its limit is an error of the write, with a name
  CLI::App app;
  try {
    add_commands(app);
    app.parse(argc, argv);
    finish_output();
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    fmt::print(stderr, "{}\n", penstock::cli::describe_parse_error(app, error, argc, argv));
    return exit_user_error;
  } catch (const penstock::cli::ExitCode& end) {
    return end.code;
  } catch (const penstock::UserError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return exit_user_error;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", penstock::first_line(error));
    return exit_failure;
  }
}
