#include "ranks/launcher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <optional>
#include <system_error>
#include <utility>

#include "ranks/relayed_lines.h"
#include "ranks/store_host.h"

extern char** environ;

namespace penstock::ranks {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int look_distance = 20;  // ms
/// How long the others may take to end by themselves.
constexpr std::chrono::seconds grace{8};
constexpr int user_error_code = 2;

[[noreturn]] void fail_with_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// Signals that this process takes one by one instead of dying of them.
class TakenSignals {
 public:
  TakenSignals() {
    sigemptyset(&taken_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGTSTP}) sigaddset(&taken_, signal);
    pthread_sigmask(SIG_BLOCK, &taken_, &before_);
  }
  ~TakenSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  TakenSignals(const TakenSignals&) = delete;
  TakenSignals& operator=(const TakenSignals&) = delete;

  int take() const {
    const timespec at_once{};
    const int signal = sigtimedwait(&taken_, nullptr, &at_once);
    return signal > 0 ? signal : 0;
  }
  const sigset_t& before() const { return before_; }

 private:
  sigset_t taken_{};
  sigset_t before_{};
};

std::vector<std::string> environment_of(int rank, int ranks, std::uint16_t port) {
  const std::vector<std::pair<std::string, std::string>> ours{
      {"RANK", fmt::format("{}", rank)},
      {"WORLD_SIZE", fmt::format("{}", ranks)},
      {"LOCAL_RANK", fmt::format("{}", rank)},
      {"LOCAL_WORLD_SIZE", fmt::format("{}", ranks)},
      {"MASTER_ADDR", "127.0.0.1"},
      {"MASTER_PORT", fmt::format("{}", port)},
      {"TORCHELASTIC_USE_AGENT_STORE", "True"},
      {"TORCHELASTIC_RESTART_COUNT", "0"}};
  std::vector<std::string> variables;
  for (const auto& [name, value] : ours) variables.push_back(name + "=" + value);
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const auto name = text.substr(0, text.find('='));
    const bool replaced =
        std::any_of(ours.begin(), ours.end(), [&](const auto& our) { return our.first == name; });
    if (!replaced) variables.emplace_back(text);
  }
  return variables;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (auto& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

struct Child {
  pid_t pid = -1;
  int errors = -1;  // our end of its standard error; -1 once it has ended
  std::optional<int> status;

  int exit_code() const {
    return WIFSIGNALED(*status) ? 128 + WTERMSIG(*status) : WEXITSTATUS(*status);
  }
};

/// In the new process, where only async-signal-safe functions may be called.
[[noreturn]] void become_rank(const char* program, char* const* arguments, char* const* variables,
                              int errors, bool has_output, pid_t parent, const sigset_t& signals) {
  // A group of its own: what the terminal sends reaches the ranks through the launcher only.
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  const int nothing = ::open("/dev/null", O_RDWR);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(errors, STDERR_FILENO);
  if (!has_output) ::dup2(errors, STDOUT_FILENO);
  ::sigprocmask(SIG_SETMASK, &signals, nullptr);
  ::execve(program, arguments, variables);
  ::_exit(127);
}

Child start(const Launch& setup, int rank, std::uint16_t port, const sigset_t& signals) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) fail_with_errno("cannot make a pipe for a rank");
  auto variables = environment_of(rank, setup.ranks, port);
  auto arguments = setup.arguments;
  const auto argument_pointers = pointers_to(arguments);
  const auto variable_pointers = pointers_to(variables);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    become_rank(setup.program.c_str(), argument_pointers.data(), variable_pointers.data(), pipe[1],
                rank == 0, parent, signals);
  }
  ::close(pipe[1]);
  if (pid < 0) {
    ::close(pipe[0]);
    fail_with_errno("cannot start a rank");
  }
  ::fcntl(pipe[0], F_SETFL, O_NONBLOCK);
  return {pid, pipe[0], std::nullopt};
}

/// The ranks and what is known of them.
class Ranks {
 public:
  explicit Ranks(const Launch& setup) : setup_(setup), lines_(setup.ranks) {}
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  /// Nobody is left behind, however this ends.
  ~Ranks() {
    kill_all();
    for (auto& child : children_) {
      if (!child.status) ::waitpid(child.pid, nullptr, 0);
      if (child.errors >= 0) ::close(child.errors);
    }
  }

  int run() {
    for (int r = 0; r < setup_.ranks; ++r) {
      children_.push_back(start(setup_, r, store_.port(), signals_.before()));
    }
    while (busy()) {
      read_errors();
      pass_signals_on();
      see_who_ended();
      if (store_.failure()) start_grace();
      if (deadline_ && Clock::now() > *deadline_) kill_all();
      show(lines_.due(Clock::now()));
    }
    if (const auto failure = store_.failure()) lines_.announce(failure->message, Clock::now());
    show(lines_.rest());
    return code_;
  }

 private:
  bool busy() const {
    return std::any_of(children_.begin(), children_.end(),
                       [](const Child& child) { return !child.status || child.errors >= 0; });
  }

  void read_errors() {
    std::vector<pollfd> polled;
    for (const auto& child : children_) polled.push_back({child.errors, POLLIN, 0});
    ::poll(polled.data(), polled.size(), look_distance);
    for (int r = 0; r < setup_.ranks; ++r) {
      if (polled[static_cast<std::size_t>(r)].revents != 0) read_errors_of(r);
    }
  }

  void read_errors_of(int rank) {
    Child& child = children_[static_cast<std::size_t>(rank)];
    // Before the lines of the ranks that repeat it.
    if (const auto failure = store_.failure()) lines_.announce(failure->message, Clock::now());
    char buffer[4096];
    for (;;) {
      const auto size = ::read(child.errors, buffer, sizeof buffer);
      if (size > 0) {
        lines_.take(rank, {buffer, static_cast<std::size_t>(size)}, Clock::now());
        continue;
      }
      if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
      ::close(std::exchange(child.errors, -1));
      lines_.end(rank, Clock::now());
      return;
    }
  }

  void pass_signals_on() const {
    const int signal = signals_.take();
    if (signal == 0) return;
    if (signal == SIGTSTP) {
      send_all(SIGSTOP);
      ::raise(SIGSTOP);  // returns when the shell lets this process go on
      send_all(SIGCONT);
    } else if (!children_[0].status) {
      ::kill(children_[0].pid, signal);
    }
  }

  void see_who_ended() {
    for (int r = 0; r < setup_.ranks; ++r) {
      Child& child = children_[static_cast<std::size_t>(r)];
      int status = 0;
      if (child.status || ::waitpid(child.pid, &status, WNOHANG) != child.pid) continue;
      child.status = status;
      if (status != 0) note_failure(r, child);
    }
  }

  /// Ranks that were not told why this one ended are told now.
  void note_failure(int rank, const Child& child) {
    if (child.errors >= 0) read_errors_of(rank);
    const int code = child.exit_code();
    std::string message = lines_.last_line(rank);
    if (WIFSIGNALED(*child.status)) {
      const int signal = WTERMSIG(*child.status);
      message = fmt::format("[engine] rank {} ended: killed by signal {} ({})", rank, signal,
                            ::strsignal(signal));
    } else if (message.empty()) {
      message = fmt::format("[engine] rank {} ended: exit code {}", rank, code);
    }
    store_.fail({.rank = rank,
                 .lost = true,
                 .user_error = code == user_error_code,
                 .message = std::move(message)});
    if (code_ == 0 || store_.failure()->rank == rank) code_ = code;
    start_grace();
  }

  void start_grace() {
    if (!deadline_) deadline_ = Clock::now() + grace;
  }

  void send_all(int signal) const {
    for (const auto& child : children_) {
      if (!child.status) ::kill(child.pid, signal);
    }
  }
  void kill_all() const { send_all(SIGKILL); }

  void show(const std::vector<std::string>& lines) const {
    for (const auto& line : lines) fmt::print(setup_.errors, "{}\n", line);
    if (!lines.empty()) std::fflush(setup_.errors);
  }

  const Launch& setup_;
  const TakenSignals signals_;  // before the store's threads, which inherit them
  StoreHost store_;
  RelayedLines lines_;
  std::vector<Child> children_;
  int code_ = 0;
  std::optional<Clock::time_point> deadline_;
};

}  // namespace

int launch(const Launch& setup) { return Ranks(setup).run(); }

}  // namespace penstock::ranks
