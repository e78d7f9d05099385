#pragma once
// Mistakes of the user, as opposed to failures of the program.

#include <fmt/format.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace penstock {

/// Something the user gave us breaks a rule. `what()` is the finished line
/// "[where] rule, actual values; what to set". The program prints it and exits with code 2.
class UserError : public std::runtime_error {
 public:
  UserError(std::string_view where, std::string_view message)
      : std::runtime_error(fmt::format("[{}] {}", where, message)) {}
};

/// Builds a UserError with a formatted message: throw user_error("config", "lr = {} ...", lr).
template <class... Args>
[[nodiscard]] UserError user_error(std::string_view where, fmt::format_string<Args...> format,
                                   Args&&... args) {
  return {where, fmt::format(format, std::forward<Args>(args)...)};
}

/// The first line of an exception's message: LibTorch appends a stack trace to its own.
inline std::string first_line(const std::exception& error) {
  const std::string_view text = error.what();
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace penstock
