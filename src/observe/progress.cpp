#include "observe/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <ostream>
#include <string_view>

namespace penstock::observe {
namespace {

constexpr double terminal_interval = 0.1;  // seconds
constexpr double log_interval = 5.0;
constexpr double window_seconds = 20.0;
constexpr std::size_t usual_width = 80;
constexpr std::size_t bar_width = 16;
constexpr std::size_t stages_in_full = 8;
constexpr std::string_view gap = "  ";

constexpr std::string_view bold = "1";
constexpr std::string_view green = "32";
constexpr std::string_view yellow = "33";
constexpr std::string_view cyan = "36";

struct Field {
  std::string text;
  int rank = 0;  ///< The highest leaves first when the line is too long; 0 stays.
  std::string_view colour = {};
};

std::size_t columns(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;  // Not a UTF-8 continuation.
  }));
}

std::size_t columns(const std::vector<Field>& fields) {
  std::size_t sum = fields.empty() ? 0 : gap.size() * (fields.size() - 1);
  for (const Field& field : fields) sum += columns(field.text);
  return sum;
}

void fit(std::vector<Field>& fields, std::size_t width) {
  while (columns(fields) > width) {
    const auto least =
        std::max_element(fields.begin(), fields.end(),
                         [](const Field& a, const Field& b) { return a.rank < b.rank; });
    if (least->rank == 0) {
      least->text.resize(std::min(least->text.size(), width));  // The step is ASCII.
      return;
    }
    fields.erase(least);
  }
}

std::string joined(const std::vector<Field>& fields, bool colour) {
  std::string line;
  for (const Field& field : fields) {
    if (!line.empty()) line += gap;
    const bool painted = colour && !field.colour.empty();
    line += painted ? fmt::format("\x1b[{}m{}\x1b[0m", field.colour, field.text) : field.text;
  }
  return line;
}

std::string bar(double fraction) {
  const auto halves = static_cast<std::size_t>(
      std::lround(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(2 * bar_width)));
  std::string text;
  for (std::size_t i = 0; i < bar_width; ++i) {
    text += 2 * i + 2 <= halves ? "━" : 2 * i + 1 == halves ? "╸" : "·";
  }
  return text;
}

std::string busy_text(const std::vector<double>& busy) {
  std::string text = "busy";
  if (busy.size() > stages_in_full) {
    const auto [low, high] = std::minmax_element(busy.begin(), busy.end());
    return fmt::format("{} {:.0f}-{:.0f}%", text, 100 * *low, 100 * *high);
  }
  for (const double share : busy) text += fmt::format(" {:.0f}%", 100 * share);
  return text;
}

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

}  // namespace

Console detect_console(int descriptor) {
  Console console;
  console.terminal = ::isatty(descriptor) == 1;
  const char* kind = std::getenv("TERM");
  const bool dumb = kind != nullptr && std::string_view(kind) == "dumb";
  console.colour = console.terminal && !dumb && !is_set("NO_COLOR");
  console.width = [descriptor]() -> std::size_t {
    winsize size{};
    const bool known = ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : usual_width;
  };
  return console;
}

Progress::Progress(std::ostream& stream, Console console, std::int64_t total_steps)
    : stream_(stream), console_(std::move(console)), total_steps_(total_steps) {}

void Progress::update(const UpdateRecord& record) {
  remember(record);
  if (record.skipped) ++skipped_;
  last_ = record;
  pending_ = true;
  if (due(record.seconds) || record.step >= total_steps_) draw(false);
}

void Progress::evaluation(const EvalRecord& record) {
  evaluation_seconds_ += record.duration;
  val_loss_ = record.val_loss;
  std::vector<Field> fields = {{step_text(record.step), 0, bold},
                               {fmt::format("val loss {:.4f}", record.val_loss), 1, green}};
  if (last_) fields.push_back({fmt::format("train loss {:.4f}", last_->loss), 2});
  fields.push_back(
      {fmt::format("{} sequences in {}", record.sequences, duration_text(record.duration)), 3});
  if (console_.terminal) fit(fields, usable_width());
  print(joined(fields, console_.colour), true);
  // The next update's line is not worth another one right away.
  drawn_at_ = record.seconds;
}

void Progress::finish() {
  if (pending_) draw(true);
  if (line_open_) {
    stream_ << '\n' << std::flush;
    line_open_ = false;
  }
}

void Progress::remember(const UpdateRecord& record) {
  // The first update's time counts from the start of the run; one that goes on later has no start.
  if (window_.empty() && record.step == 1) {
    window_.push_back({0, 0, 0, std::vector<double>(record.busy.size(), 0.0)});
  }
  Sample sample{record.seconds - evaluation_seconds_, record.tokens, record.step,
                std::vector<double>(record.busy.size(), 0.0)};
  if (!window_.empty() && window_.back().busy_seconds.size() == record.busy.size()) {
    const Sample& before = window_.back();
    for (std::size_t i = 0; i < record.busy.size(); ++i) {
      const double share = std::isfinite(record.busy[i]) ? record.busy[i] : 0.0;
      sample.busy_seconds[i] = before.busy_seconds[i] + share * (sample.seconds - before.seconds);
    }
  }
  window_.push_back(std::move(sample));
  while (window_.size() > 2 && window_[1].seconds <= window_.back().seconds - window_seconds) {
    window_.pop_front();
  }
}

bool Progress::due(double seconds) const {
  if (!drawn_at_) return true;
  return seconds - *drawn_at_ >= (console_.terminal ? terminal_interval : log_interval);
}

std::size_t Progress::usable_width() const {
  const std::size_t width = console_.width ? console_.width() : usual_width;
  // Some terminals wrap once the last column is filled.
  return std::max<std::size_t>(width, 2) - 1;
}

std::string Progress::step_text(std::int64_t step) const {
  const std::string total = std::to_string(total_steps_);
  return fmt::format("step {:>{}}/{}", step, total.size(), total);
}

void Progress::draw(bool permanent) {
  const Sample& now = window_.back();
  const Sample& then = window_.front();
  const double elapsed = now.seconds - then.seconds;
  std::vector<Field> fields = {{step_text(last_->step), 0, bold}};
  if (console_.terminal && total_steps_ > 0) {
    fields.push_back(
        {bar(static_cast<double>(last_->step) / static_cast<double>(total_steps_)), 8, green});
  }
  fields.push_back({fmt::format("loss {:.4f}", last_->loss), 1, cyan});
  if (val_loss_) fields.push_back({fmt::format("val {:.4f}", *val_loss_), 5});
  fields.push_back({fmt::format("lr {:.2e}", last_->lr), 7});
  fields.push_back({fmt::format("norm {:.3g}", last_->gradient_norm), 6});
  if (skipped_ > 0) fields.push_back({fmt::format("skipped {}", skipped_), 2, yellow});
  if (elapsed > 0) {
    const double tokens = static_cast<double>(now.tokens - then.tokens);
    const double steps = static_cast<double>(now.step - then.step);
    fields.push_back({short_number(tokens / elapsed) + " tokens/s", 2});
    const double left = static_cast<double>(total_steps_ - now.step) * elapsed / steps;
    fields.push_back({duration_text(left) + " left", 3});
    std::vector<double> busy;
    for (std::size_t i = 0; i < now.busy_seconds.size() && i < then.busy_seconds.size(); ++i) {
      busy.push_back((now.busy_seconds[i] - then.busy_seconds[i]) / elapsed);
    }
    if (!busy.empty()) fields.push_back({busy_text(busy), 4});
  }
  if (console_.terminal) fit(fields, usable_width());
  print(joined(fields, console_.colour), permanent);
  drawn_at_ = last_->seconds;
  pending_ = false;
}

void Progress::print(const std::string& line, bool permanent) {
  if (console_.terminal) {
    stream_ << '\r' << line << "\x1b[K" << (permanent ? "\n" : "");
  } else {
    stream_ << line << '\n';
  }
  stream_ << std::flush;
  line_open_ = console_.terminal && !permanent;
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e12) return "?";
  const std::int64_t whole = std::llround(seconds);
  const std::int64_t minutes = whole / 60;
  const std::int64_t hours = minutes / 60;
  if (minutes == 0) return fmt::format("{}s", whole);
  if (hours == 0) return fmt::format("{}m {:02}s", minutes, whole % 60);
  if (hours < 24) return fmt::format("{}h {:02}m", hours, minutes % 60);
  return fmt::format("{}d {:02}h", hours / 24, hours % 24);
}

std::string short_number(double value) {
  constexpr std::array<std::string_view, 5> prefixes = {"", "k", "M", "G", "T"};
  std::size_t i = 0;
  while (std::abs(value) >= 999.5 && i + 1 < prefixes.size()) {
    value /= 1000;
    ++i;
  }
  return fmt::format("{:.3g}{}", value, prefixes[i]);
}

}  // namespace penstock::observe
