#pragma once
// Progress on the console.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "observe/record.h"

namespace penstock::observe {

/// Where the lines go.
struct Console {
  bool terminal = false;  ///< A line can be rewritten.
  bool colour = false;
  /// Columns of a terminal, asked at every line since windows are resized.
  std::function<std::size_t()> width;
};

/// What the open file `descriptor` is: colour on terminals where NO_COLOR is unset or empty and
/// TERM is not "dumb".
Console detect_console(int descriptor);

/// Prints step, loss, validation loss, learning rate, gradient norm, skipped updates where there
/// are any, tokens/s, time left and each stage's busy share.
///
/// On a terminal one line is rewritten, at most ten times a second and cut to the width, and an
/// evaluation leaves a line behind. Elsewhere a line is printed at most every 5 s; the first
/// update, evaluations and the last update always.
///
/// Time is the records' own: tokens/s, time left and busy shares cover the last 20 s of training,
/// evaluations not counted.
/// Threads: one caller at a time.
class Progress {
 public:
  /// `stream` outlives the object. `total_steps`: updates of the whole run.
  Progress(std::ostream& stream, Console console, std::int64_t total_steps);

  void update(const UpdateRecord& record);
  void evaluation(const EvalRecord& record);
  /// Updates that were skipped before the first one shown here, in a run that goes on.
  void skipped_before(std::int64_t updates) { skipped_ = updates; }
  /// Shows the last update, if it is not on the console yet, and ends the line. Also after an
  /// interruption; a second call does nothing.
  void finish();

 private:
  struct Sample {
    double seconds = 0;  ///< Of training.
    std::int64_t tokens = 0;
    std::int64_t step = 0;
    std::vector<double> busy_seconds;  ///< Of each stage, summed up.
  };

  void remember(const UpdateRecord& record);
  bool due(double seconds) const;
  std::size_t usable_width() const;
  std::string step_text(std::int64_t step) const;
  void draw(bool permanent);
  void print(const std::string& line, bool permanent);

  std::ostream& stream_;
  Console console_;
  std::int64_t total_steps_;
  std::deque<Sample> window_;
  std::optional<UpdateRecord> last_;
  std::optional<double> val_loss_;
  double evaluation_seconds_ = 0;
  std::int64_t skipped_ = 0;
  std::optional<double> drawn_at_;
  bool pending_ = false;    ///< `last_` has not been drawn.
  bool line_open_ = false;  ///< The terminal's cursor is behind a rewritable line.
};

/// "45s", "3m 05s", "2h 04m", "3d 04h"; "?" for what is not a finite duration.
std::string duration_text(double seconds);
/// "0.42", "12.3", "845", "1.24k", "56.1M": three significant digits and a decimal prefix.
std::string short_number(double value);

}  // namespace penstock::observe
