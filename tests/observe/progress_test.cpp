#include "observe/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <limits>
#include <sstream>

namespace penstock::observe {
namespace {

/// An update every `period` seconds with 1000 tokens each.
UpdateRecord update(std::int64_t step, double period = 1.0) {
  return {.step = step,
          .loss = 4.0 - 0.01 * static_cast<double>(step),
          .gradient_norm = 0.5,
          .clip_factor = 1,
          .lr = 1e-3,
          .tokens = 1000 * step,
          .seconds = period * static_cast<double>(step),
          .busy = {0.5, 1.0}};
}

Console log_console() { return {}; }

Console terminal(std::size_t width, bool colour = false) {
  return {.terminal = true, .colour = colour, .width = [width] { return width; }};
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

std::size_t columns(const std::string& text) {
  std::size_t sum = 0;
  for (const char c : text) sum += (static_cast<unsigned char>(c) & 0xc0u) != 0x80u ? 1 : 0;
  return sum;
}

TEST(ProgressLog, ALineHasEverything) {
  std::ostringstream out;
  Progress progress(out, log_console(), 100);
  progress.update(update(1));
  EXPECT_EQ(out.str(),
            "step   1/100  loss 3.9900  lr 1.00e-03  norm 0.5  1k tokens/s  1m 39s left  "
            "busy 50% 100%\n");
}

TEST(ProgressLog, FirstEveryFiveSecondsAndLast) {
  std::ostringstream out;
  Progress progress(out, log_console(), 12);
  for (int step = 1; step <= 12; ++step) progress.update(update(step));
  progress.finish();
  const std::string text = out.str();
  EXPECT_EQ(count(text, "\n"), 4u) << text;
  for (const char* step : {"step  1/12", "step  6/12", "step 11/12", "step 12/12"}) {
    EXPECT_EQ(count(text, step), 1u) << step;
  }
  EXPECT_EQ(count(text, "\x1b"), 0u);
  EXPECT_EQ(count(text, "\r"), 0u);
}

TEST(ProgressLog, FinishShowsAnInterruptedRunsLastUpdateOnce) {
  std::ostringstream out;
  Progress progress(out, log_console(), 12);
  for (int step = 1; step <= 3; ++step) progress.update(update(step));
  EXPECT_EQ(count(out.str(), "\n"), 1u);
  progress.finish();
  progress.finish();
  EXPECT_EQ(count(out.str(), "\n"), 2u);
  EXPECT_EQ(count(out.str(), "step  3/12"), 1u);
}

TEST(ProgressLog, FinishWithoutUpdatesPrintsNothing) {
  std::ostringstream out;
  Progress(out, log_console(), 0).finish();
  EXPECT_EQ(out.str(), "");
}

TEST(ProgressLog, EvaluationsAlways) {
  std::ostringstream out;
  Progress progress(out, log_console(), 100);
  progress.update(update(1));
  progress.evaluation(
      {.step = 1, .val_loss = 3.5, .sequences = 64, .seconds = 1.4, .duration = 0.4});
  progress.evaluation({.step = 1, .val_loss = 3.25, .sequences = 64, .seconds = 1.5});
  EXPECT_EQ(count(out.str(), "\n"), 3u);
  EXPECT_NE(
      out.str().find("step   1/100  val loss 3.5000  train loss 3.9900  64 sequences in 0s\n"),
      std::string::npos)
      << out.str();
  progress.update(update(99));
  EXPECT_NE(out.str().find("val 3.2500"), std::string::npos);
}

TEST(ProgressLog, AnEvaluationBeforeTheFirstUpdate) {
  std::ostringstream out;
  Progress progress(out, log_console(), 9);
  progress.evaluation({.step = 0, .val_loss = 9, .sequences = 2, .seconds = 61, .duration = 61});
  EXPECT_EQ(out.str(), "step 0/9  val loss 9.0000  2 sequences in 1m 01s\n");
}

TEST(ProgressRate, EvaluationsDoNotCount) {
  std::ostringstream out;
  Progress progress(out, log_console(), 3);
  progress.update(update(1));
  progress.evaluation({.step = 1, .val_loss = 3, .sequences = 1, .seconds = 101, .duration = 100});
  UpdateRecord later = update(3);
  later.seconds += 100;
  progress.update(later);
  EXPECT_EQ(count(out.str(), "1k tokens/s"), 2u) << out.str();
}

TEST(ProgressRate, CoversTheLastTwentySeconds) {
  std::ostringstream out;
  Progress progress(out, log_console(), 200);
  double seconds = 0;
  for (int step = 1; step <= 200; ++step) {
    UpdateRecord record = update(step);
    seconds += step <= 100 ? 1.0 : 0.25;  // Four times as fast in the second half.
    record.seconds = seconds;
    record.busy = {step <= 100 ? 0.25 : 0.75};
    progress.update(record);
  }
  const std::string text = out.str();
  const std::string last = text.substr(text.find("step 200/200"));
  EXPECT_NE(last.find("4k tokens/s  0s left  busy 75%"), std::string::npos) << last;
}

TEST(ProgressRate, ARunThatGoesOnHasNoRateAtFirst) {
  std::ostringstream out;
  Progress progress(out, log_console(), 100);
  progress.update(update(50));
  EXPECT_EQ(count(out.str(), "tokens/s"), 0u);
  progress.update(update(60));
  EXPECT_EQ(count(out.str(), "1k tokens/s  40s left"), 1u) << out.str();
}

TEST(ProgressTerminal, RewritesOneLineTenTimesASecond) {
  std::ostringstream out;
  Progress progress(out, terminal(120), 1000);
  // 64 updates a second, in times that are exact: drawn every 7/64 s, the first at or past 0.1 s.
  for (int step = 1; step <= 64; ++step) progress.update(update(step, 1.0 / 64));
  EXPECT_EQ(count(out.str(), "\r"), 10u);
  EXPECT_EQ(count(out.str(), "\n"), 0u);
  progress.finish();
  progress.finish();
  EXPECT_EQ(count(out.str(), "\n"), 1u);
}

TEST(ProgressTerminal, EvaluationsLeaveALine) {
  std::ostringstream out;
  Progress progress(out, terminal(100), 2);
  progress.update(update(1));
  progress.evaluation({.step = 1, .val_loss = 3.5, .sequences = 64, .seconds = 1.5});
  EXPECT_NE(
      out.str().find("\rstep 1/2  val loss 3.5000  train loss 3.9900  64 sequences in 0s\x1b[K\n"),
      std::string::npos)
      << out.str();
  progress.finish();  // The update was on the console before the evaluation.
  EXPECT_EQ(count(out.str(), "\n"), 1u);
}

TEST(ProgressTerminal, FitsEveryWidth) {
  for (std::size_t width = 1; width < 200; ++width) {
    std::ostringstream out;
    Progress progress(out, terminal(width), 100);
    progress.evaluation({.step = 0, .val_loss = 3.5, .sequences = 64, .seconds = 0});
    progress.update(update(100));
    std::istringstream lines(out.str());
    for (std::string line; std::getline(lines, line);) {
      ASSERT_EQ(line.front(), '\r');
      const std::string shown = line.substr(1, line.find("\x1b[K") - 1);
      EXPECT_LT(columns(shown), std::max<std::size_t>(width, 2)) << shown;
    }
    EXPECT_EQ(out.str().substr(0, 2), "\rs");
  }
}

TEST(ProgressTerminal, TheLeastImportantLeavesFirst) {
  std::ostringstream out;
  Progress progress(out, terminal(60), 100);
  progress.update(update(1));
  EXPECT_EQ(out.str(), "\rstep   1/100  loss 3.9900  1k tokens/s  1m 39s left\x1b[K");
}

TEST(ProgressTerminal, BarAndColour) {
  std::ostringstream plain;
  Progress(plain, terminal(200), 4).update(update(2));
  EXPECT_NE(plain.str().find("step 2/4  ━━━━━━━━········  loss"), std::string::npos) << plain.str();
  EXPECT_EQ(count(plain.str(), "\x1b[3"), 0u);
  std::ostringstream coloured;
  Progress(coloured, terminal(200, true), 4).update(update(2));
  EXPECT_EQ(coloured.str().rfind("\r\x1b[1mstep 2/4\x1b[0m  \x1b[32m━━━━━━━━········\x1b[0m  "
                                 "\x1b[36mloss 3.9800\x1b[0m  lr",
                                 0),
            0u)
      << coloured.str();
}

TEST(Progress, CountsSkippedUpdatesWhereThereAreAny) {
  std::ostringstream out;
  Progress progress(out, log_console(), 4);
  progress.update(update(1));
  EXPECT_EQ(count(out.str(), "skipped"), 0u);
  for (int step = 2; step <= 4; ++step) {
    UpdateRecord record = update(step);
    record.skipped = step != 3;
    if (record.skipped) record.loss = undefined;
    progress.update(record);
  }
  EXPECT_NE(out.str().find("step 4/4  loss nan  lr 1.00e-03  norm 0.5  skipped 2  1k tokens/s"),
            std::string::npos)
      << out.str();
}

TEST(Progress, CountsThoseSkippedBeforeTheRunWentOn) {
  std::ostringstream out;
  Progress progress(out, log_console(), 60);
  progress.skipped_before(3);
  UpdateRecord record = update(50);
  record.skipped = true;
  progress.update(record);
  EXPECT_NE(out.str().find("  skipped 4\n"), std::string::npos) << out.str();
}

TEST(ProgressRate, AStageThatHasNotToldDoesNotSpoilTheShares) {
  std::ostringstream out;
  Progress progress(out, log_console(), 2);
  UpdateRecord record = update(1);
  record.busy = {undefined, 1.0};
  progress.update(record);
  progress.update(update(2));
  // 0 s and 0.5 s of 2 s on the first stage.
  EXPECT_NE(out.str().find("busy 25% 100%\n"), std::string::npos) << out.str();
}

TEST(Progress, ManyStagesShowTheirSpread) {
  std::ostringstream out;
  UpdateRecord record = update(1);
  record.busy = {0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.5};
  Progress(out, log_console(), 4).update(record);
  EXPECT_NE(out.str().find("busy 50-97%\n"), std::string::npos) << out.str();
}

TEST(Progress, ShowsWhatIsNotANumber) {
  std::ostringstream out;
  UpdateRecord record = update(1);
  record.loss = std::numeric_limits<double>::quiet_NaN();
  record.gradient_norm = std::numeric_limits<double>::infinity();
  Progress(out, log_console(), 4).update(record);
  EXPECT_NE(out.str().find("loss nan  lr 1.00e-03  norm inf"), std::string::npos) << out.str();
}

TEST(DetectConsole, APipeIsNoTerminal) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Console console = detect_console(ends[1]);
  EXPECT_FALSE(console.terminal);
  EXPECT_FALSE(console.colour);
  EXPECT_EQ(console.width(), 80u);
  close(ends[0]);
  close(ends[1]);
}

/// A pseudo-terminal of 93 columns, with NO_COLOR and TERM as given.
Console detect_pty(const char* no_color, const char* term) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT_GE(master, 0);
  EXPECT_EQ(grantpt(master), 0);
  EXPECT_EQ(unlockpt(master), 0);
  const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  EXPECT_GE(slave, 0);
  const winsize size{.ws_row = 24, .ws_col = 93, .ws_xpixel = 0, .ws_ypixel = 0};
  EXPECT_EQ(ioctl(slave, TIOCSWINSZ, &size), 0);
  if (no_color != nullptr) {
    setenv("NO_COLOR", no_color, 1);
  } else {
    unsetenv("NO_COLOR");
  }
  setenv("TERM", term, 1);
  Console console = detect_console(slave);
  EXPECT_EQ(console.width(), 93u);
  close(slave);
  close(master);
  return console;
}

TEST(DetectConsole, ATerminalsColour) {
  EXPECT_TRUE(detect_pty(nullptr, "xterm").terminal);
  EXPECT_TRUE(detect_pty(nullptr, "xterm").colour);
  EXPECT_TRUE(detect_pty("", "xterm").colour);
  EXPECT_FALSE(detect_pty("1", "xterm").colour);
  EXPECT_FALSE(detect_pty(nullptr, "dumb").colour);
}

TEST(DurationText, Units) {
  EXPECT_EQ(duration_text(0), "0s");
  EXPECT_EQ(duration_text(59.4), "59s");
  EXPECT_EQ(duration_text(59.5), "1m 00s");
  EXPECT_EQ(duration_text(185), "3m 05s");
  EXPECT_EQ(duration_text(2 * 3600 + 4 * 60), "2h 04m");
  EXPECT_EQ(duration_text(3 * 86400 + 4 * 3600), "3d 04h");
  EXPECT_EQ(duration_text(-1), "?");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::quiet_NaN()), "?");
}

TEST(ShortNumber, ThreeDigitsAndAPrefix) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(0.42), "0.42");
  EXPECT_EQ(short_number(12.34), "12.3");
  EXPECT_EQ(short_number(999.4), "999");
  EXPECT_EQ(short_number(999.6), "1k");
  EXPECT_EQ(short_number(1236), "1.24k");
  EXPECT_EQ(short_number(999'960), "1M");
  EXPECT_EQ(short_number(56'100'000), "56.1M");
  EXPECT_EQ(short_number(2e18), "2e+06T");
}

}  // namespace
}  // namespace penstock::observe
