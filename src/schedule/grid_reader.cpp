#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/suggest.h"
#include "schedule/grid_file.h"
#include "schedule/grid_text.h"

namespace penstock::schedule {
namespace {

using namespace grid_text;

constexpr std::string_view spaces_and_bar = " \t\r\v\f|";
constexpr std::string_view spaces = spaces_and_bar.substr(0, 5);

std::optional<int> whole_number(std::string_view text) {
  int value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    const std::size_t begin = text.find_first_not_of(spaces);
    if (begin == std::string_view::npos) return words;
    text.remove_prefix(begin);
    const std::size_t end = text[0] == '|' ? 1 : text.find_first_of(spaces_and_bar);
    words.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return words;
    text.remove_prefix(end);
  }
}

struct Range {
  int least = 0;
  int most = 0;
};

std::optional<Range> range(std::string_view word) {
  const std::size_t dots = word.find("..");
  if (dots == std::string_view::npos) {
    const auto value = whole_number(word);
    return value ? std::optional<Range>({*value, *value}) : std::nullopt;
  }
  const auto least = whole_number(word.substr(0, dots));
  const auto most = whole_number(word.substr(dots + 2));
  if (!least || !most || *least > *most) return std::nullopt;
  return Range{*least, *most};
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view source) : text_(text) { grid_.source = source; }

  Grid parse() {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
    for (line_ = 1; !text_.empty(); ++line_) {
      const std::size_t end = text_.find('\n');
      read_line(text_.substr(0, end));
      text_.remove_prefix(end == std::string_view::npos ? text_.size() : end + 1);
    }
    if (grid_.rows.empty()) {
      throw user_error(grid_.source,
                       "a grid needs a row for each stage, but there is none; write one such as "
                       "'stage 0: F0 F1 B0 B1 U'");
    }
    find_shape();
    read_switches();
    read_limits();
    return std::move(grid_);
  }

 private:
  struct Header {
    int line = 0;
    std::vector<std::string_view> values;
  };

  template <class... Args>
  UserError error(int line, fmt::format_string<Args...> format, Args&&... args) const {
    return {fmt::format("{}:{}", grid_.source, line),
            fmt::format(format, std::forward<Args>(args)...)};
  }

  void read_line(std::string_view line) {
    line = line.substr(0, line.find('#'));
    const auto words = words_of(line);
    if (words.empty()) return;
    if (words[0] == "stage") {
      read_row(line);
    } else {
      read_header(words);
    }
  }

  void read_header(const std::vector<std::string_view>& words) {
    static const std::vector<std::string> keys{
        "stages",        "micro_batches", "chunks",   "placement",        "backward",
        "updates",       "delay",         "versions", "gradient_buffers", "in_flight",
        "collect_after", "reductions",    "summary"};
    const std::string key(words[0]);
    if (std::ranges::find(keys, key) == keys.end()) {
      const std::string near = suggest(key, keys);
      throw error(line_, "{} is no setting of a grid; {}", in_quotes(key),
                  near.empty() ? fmt::format("write one of {}, or a row 'stage {}: ...'",
                                             fmt::join(keys, ", "), grid_.rows.size())
                               : fmt::format("did you mean '{}'?", near));
    }
    if (words.size() == 1) throw error(line_, "'{}' has no value; write '{} VALUE'", key, key);
    const auto [known, added] =
        headers_.try_emplace(key, Header{line_, {words.begin() + 1, words.end()}});
    if (!added) {
      throw error(line_, "'{}' was set in line {} already; remove one of them", key,
                  known->second.line);
    }
  }

  void read_row(std::string_view line) {
    const std::size_t expected = grid_.rows.size();
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) {
      throw error(line_, "a row starts with its stage and ':'; write 'stage {}: ...'", expected);
    }
    const auto label = words_of(line.substr(0, colon));
    const auto stage = label.size() == 2 ? whole_number(label[1]) : std::nullopt;
    if (!stage || *stage < 0 || static_cast<std::size_t>(*stage) != expected) {
      throw error(line_, "rows are numbered from 0 in order, but this one is {}; write 'stage {}:'",
                  in_quotes(line.substr(line.find("stage"), colon - line.find("stage"))), expected);
    }
    if (expected == most_stages) {
      throw error(line_, "a grid has at most {} stages, but this is one more; remove rows",
                  most_stages);
    }
    GridRow row{.line = line_, .once = {}, .repeated = {}};
    std::set<std::tuple<ActionKind, int, int>> part;
    bool split = false;
    for (const std::string_view word : words_of(line.substr(colon + 1))) {
      if (word == ".") continue;
      if (word != "|") {
        const Step next = step(word);
        if (!part.emplace(next.kind, next.number, next.chunk).second) {
          throw error(line_, "stage {} runs {} twice; remove one of them", expected, to_text(next));
        }
        row.repeated.push_back(next);
      } else if (split) {
        throw error(line_,
                    "a row has one '|', between what is done once and what is repeated, but this "
                    "one has two; remove one");
      } else {
        split = true;
        part.clear();
        row.once.swap(row.repeated);
      }
    }
    grid_.rows.push_back(std::move(row));
  }

  Step step(std::string_view word) const {
    static const std::map<char, ActionKind> kinds{{'F', ActionKind::forward},
                                                  {'B', ActionKind::backward},
                                                  {'X', ActionKind::backward_input},
                                                  {'W', ActionKind::backward_weight},
                                                  {'U', ActionKind::update}};
    const auto kind = kinds.find(word[0]);
    if (kind == kinds.end()) {
      throw error(line_,
                  "{} is no step; write F0 (forward of micro-batch 0), B0, X0, W0, U, '.' or '|'",
                  in_quotes(word));
    }
    const bool is_update = kind->second == ActionKind::update;
    const std::size_t prime = word.find('\'');
    const std::string_view digits = word.substr(1, std::min(prime, word.size()) - 1);
    Step step{kind->second, 0, 0};
    if (!is_update || !digits.empty()) {
      const auto number = whole_number(digits);
      if (!number || *number < -largest_step_number || *number > largest_step_number) {
        throw error(line_,
                    "{} needs a whole number from -{} to {} behind its letter; write {}, say",
                    in_quotes(word), largest_step_number, largest_step_number,
                    is_update ? "U or U-1" : fmt::format("{0}0 or {0}-1", word[0]));
      }
      step.number = *number;
    }
    if (prime == std::string_view::npos) return step;
    const auto chunk = whole_number(word.substr(prime + 1));
    if (is_update || !chunk || *chunk < 0 || *chunk >= most_chunks) {
      throw error(line_, "{} names no chunk; {}", in_quotes(word),
                  is_update ? "an update is of all chunks, so write U"
                            : fmt::format("write a number from 0 to {} behind the ', such as {}0'1",
                                          most_chunks - 1, word[0]));
    }
    step.chunk = *chunk;
    return step;
  }

  const Header* header(const std::string& key) const {
    const auto found = headers_.find(key);
    return found == headers_.end() ? nullptr : &found->second;
  }

  std::optional<int> number(const std::string& key, int least, int most) const {
    const Header* given = header(key);
    if (given == nullptr) return std::nullopt;
    const auto value = given->values.size() == 1 ? whole_number(given->values[0]) : std::nullopt;
    if (!value || *value < least || *value > most) {
      throw error(given->line, "{} is one whole number from {} to {}, but it is {}; write '{} {}'",
                  key, least, most, joined(*given), key, least);
    }
    return *value;
  }

  static std::string joined(const Header& header) {
    return in_quotes(fmt::format("{}", fmt::join(header.values, " ")));
  }

  void find_shape() {
    auto& [d, m, v] = grid_.shape;
    d = static_cast<int>(grid_.rows.size());
    if (const auto given = number("stages", 1, most_stages); given && *given != d) {
      throw error(header("stages")->line,
                  "'stages {}' needs as many rows, but there {} {}; set stages to {}, or {}",
                  *given, d == 1 ? "is" : "are", d, d, *given > d ? "add rows" : "remove rows");
    }
    v = 1 + largest_chunk();
    if (const auto given = number("chunks", 1, most_chunks)) {
      if (*given < v) {
        throw error(header("chunks")->line,
                    "'chunks {}' allows chunks below {}, but the rows name chunk {}; set chunks "
                    "to {}",
                    *given, *given, v - 1, v);
      }
      v = *given;
    }
    m = number("micro_batches", 1, most_micro_batches).value_or(likely_micro_batches());
  }

  int largest_chunk() const {
    int largest = 0;
    for (const GridRow& row : grid_.rows) {
      for (const Step& step : row.repeated) largest = std::max(largest, step.chunk);
      for (const Step& step : row.once) largest = std::max(largest, step.chunk);
    }
    return largest;
  }

  /// What most rows have of forwards, or of backwards, per chunk: a single hole is then named as
  /// such.
  int likely_micro_batches() const {
    std::map<int, int> votes;
    for (const GridRow& row : grid_.rows) {
      std::map<std::pair<bool, int>, int> counts;
      for (const Step& step : row.repeated) {
        const bool counted =
            step.kind != ActionKind::update && step.kind != ActionKind::backward_weight;
        if (counted) ++counts[{step.kind == ActionKind::forward, step.chunk}];
      }
      for (const auto& [what, count] : counts) ++votes[count];
    }
    int best = 1;
    for (const auto& [count, number_of] : votes) {
      if (number_of >= votes[best]) best = count;  // of equals, the largest
    }
    return best;
  }

  /// Whether `key` has its second value rather than its first, the default.
  bool is_second(const std::string& key, std::string_view first, std::string_view second) const {
    const Header* given = header(key);
    if (given == nullptr) return false;
    const bool one = given->values.size() == 1;
    if (one && given->values[0] == first) return false;
    if (one && given->values[0] == second) return true;
    throw error(given->line, "{} is '{}' or '{}', but it is {}; write '{} {}'", key, first, second,
                joined(*given), key, first);
  }

  void read_switches() {
    if (is_second("placement", "loop", "v")) grid_.placement = Placement::v;
    grid_.stashes_weights = !is_second("backward", "stashed", "newest");
    grid_.updates_together = !is_second("updates", "together", "alone");
    const Header* summary = header("summary");
    grid_.summary =
        summary != nullptr
            ? fmt::format("{}", fmt::join(summary->values, " "))
            : fmt::format("custom, for {} stages, {} micro-batches, {} chunks", grid_.shape.stages,
                          grid_.shape.micro_batches, grid_.shape.chunks);
  }

  /// The value for `stage` of a setting with one value, or one per stage.
  std::optional<Range> value(const std::string& key, std::size_t stage, int least) const {
    const Header* given = header(key);
    if (given == nullptr) return std::nullopt;
    const std::size_t d = grid_.rows.size();
    const auto& values = given->values;
    if (values.size() != 1 && values.size() != d) {
      throw error(given->line,
                  "{} has one value, or one for each of the {} stages, but there are {}; write "
                  "1 or {}",
                  key, d, values.size(), d);
    }
    const std::string_view word = values[values.size() == 1 ? 0 : stage];
    const auto parsed = range(word);
    const bool single = key == "delay" || word.find('.') == std::string_view::npos;
    if (!parsed || !single || parsed->least < least || parsed->most > largest_setting) {
      throw error(given->line, "{} is a whole number from {} to {}, but it is {}; write '{} {}'{}",
                  key, least, largest_setting, in_quotes(word), key, std::max(least, 1),
                  key == "delay" ? " or 'delay 0..1'" : "");
    }
    return parsed;
  }

  void read_limits() {
    for (std::size_t stage = 0; stage < grid_.rows.size(); ++stage) {
      const int kept = check_row(grid_, static_cast<int>(stage));
      StageLimits limits;
      const Range delay = value("delay", stage, 0).value_or(Range{});
      limits.least_delay = delay.least;
      limits.most_delay = delay.most;
      const int versions = grid_.stashes_weights ? delay.most + 1 : 1;
      const int buffers = grid_.updates_together ? delay.most + 1 : 1;
      limits.versions = value("versions", stage, 1).value_or(Range{0, versions}).most;
      limits.gradient_buffers =
          value("gradient_buffers", stage, 1).value_or(Range{0, buffers}).most;
      limits.in_flight = value("in_flight", stage, 1).value_or(Range{0, kept}).most;
      grid_.limits.push_back(limits);
    }
    grid_.collect_after = number("collect_after", 1, largest_setting);
    grid_.reductions = number("reductions", 1, largest_setting);
  }

  std::string_view text_;
  Grid grid_;
  int line_ = 0;
  std::map<std::string, Header> headers_;
};

}  // namespace

Schedule parse_grid(std::string_view text, std::string_view source) {
  return grid_schedule(Parser(text, source).parse());
}

}  // namespace penstock::schedule
