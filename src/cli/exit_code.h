#pragma once
// The end of a command that has said all there is to say.

namespace penstock::cli {

/// Thrown by a command's callback; main() returns the code.
struct ExitCode {
  int code = 0;
};

}  // namespace penstock::cli
