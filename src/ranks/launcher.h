#pragma once
// Starts the ranks of a run on this host, and waits for them.

#include <cstdio>
#include <string>
#include <vector>

namespace penstock::ranks {

struct Launch {
  int ranks = 1;
  std::string program;                 // path of the executable
  std::vector<std::string> arguments;  // from the program's name on
  std::FILE* errors = stderr;          // gets what the ranks write to theirs
};

/// Every rank is told its number in the environment, as read_environment() takes it. Rank 0 has
/// this process's standard output. What ranks write to their standard error comes out line by line,
/// that of ranks other than 0 with "[rank 2] " in front and only where no other rank writes the
/// same; the run's failure comes once, as it is.
///
/// SIGINT, SIGTERM and SIGHUP go on to rank 0, which decides what they mean; SIGTSTP stops the
/// ranks too. When a rank fails the others have some seconds to end, then they are killed; they
/// also are if this process dies. Returns the exit code of the rank that failed first (128 + signal
/// where it was killed), 0 without a failure. Call it before the process has other threads.
/// Errors: std::system_error where a process cannot be started.
int launch(const Launch& setup);

}  // namespace penstock::ranks
