#include "observe/step_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace penstock::observe {
namespace {

constexpr double least_share_shown = 1e-3;

/// Sums of the same operation over the stages, in the order of their first mention.
std::vector<OperationTotal> sums(const std::vector<StageTimes>& stages) {
  std::vector<OperationTotal> sums;
  for (const auto& stage : stages) {
    for (const auto& operation : stage.operations) {
      auto sum = std::ranges::find_if(sums, [&](const OperationTotal& other) {
        return other.part == operation.part && other.name == operation.name;
      });
      if (sum == sums.end()) {
        sums.push_back(operation);
        continue;
      }
      sum->calls += operation.calls;
      sum->seconds += operation.seconds;
      sum->work.flops += operation.work.flops;
      sum->work.bytes += operation.work.bytes;
    }
  }
  return sums;
}

/// Turns totals over all updates into rows.
class RowMaker {
 public:
  explicit RowMaker(const StepProfile& profile)
      : bounds_(profile.bounds),
        updates_(static_cast<double>(profile.updates)),
        stage_seconds_(profile.stages * profile.step_seconds) {}

  ProfileRow row(std::string part, std::string name, double seconds) const {
    ProfileRow row{.part = std::move(part), .name = std::move(name)};
    row.seconds = seconds / updates_;
    row.share = stage_seconds_ > 0 ? row.seconds / stage_seconds_ : 0;
    return row;
  }

  ProfileRow row(const OperationTotal& total) const {
    ProfileRow made = row(total.part, total.name, total.seconds);
    made.calls = static_cast<double>(total.calls) / updates_;
    if (!(total.seconds > 0)) return made;
    const auto& [flops, bytes] = total.work;
    if (flops > 0) made.flops_per_s = flops / total.seconds;
    if (bytes > 0) made.bytes_per_s = bytes / total.seconds;
    const double least = std::max(flops / bounds_.flops_per_s, bytes / bounds_.bytes_per_s);
    if (least > 0 && std::isfinite(least)) made.share_of_bound = least / total.seconds;
    return made;
  }

 private:
  const StageBounds& bounds_;
  double updates_;
  double stage_seconds_;
};

OperationTotal products_of(const std::vector<OperationTotal>& operations) {
  OperationTotal products{.part = "of it", .name = "products"};
  for (const auto& operation : operations) {
    if (operation.work.flops == 0) continue;
    products.calls += operation.calls;
    products.seconds += operation.seconds;
    products.work.flops += operation.work.flops;
  }
  return products;
}

void add_waits(std::vector<ProfileRow>& rows, const std::vector<StageTimes>& stages,
               const RowMaker& make) {
  for (const auto& cause : wait_causes) {
    double seconds = 0;
    for (const auto& stage : stages) seconds += stage.waits.*cause.seconds;
    rows.push_back(make.row("wait", std::string(cause.name), seconds));
  }
}

// Text

std::string rate_text(const ProfileRow& row) {
  if (row.flops_per_s) return fmt::format("{:.1f} GFLOP/s", *row.flops_per_s / 1e9);
  if (row.bytes_per_s) return fmt::format("{:.1f} GB/s   ", *row.bytes_per_s / 1e9);
  return "";
}

std::string counted(std::int64_t number, std::string_view noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

std::string calls_text(double calls) {
  if (calls == 0) return "";
  return calls == std::round(calls) ? fmt::format("{:.0f}", calls) : fmt::format("{:.1f}", calls);
}

std::string bar(double share) {
  return std::string(static_cast<std::size_t>(std::lround(std::clamp(share, 0.0, 1.0) * 10)), '#');
}

std::string line(const ProfileRow& row) {
  std::string text =
      fmt::format("{:<10} {:<18} {:>9.2f} {:>6.1f}% {:>7} {:>15} ", row.part, row.name,
                  1e3 * row.seconds, 100 * row.share, calls_text(row.calls), rate_text(row));
  if (row.share_of_bound) {
    text += fmt::format("{:>5.0f}% {}", 100 * *row.share_of_bound, bar(*row.share_of_bound));
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string rows_text(const StepProfile& profile) {
  std::string text;
  ProfileRow small;
  int count = 0;
  for (const auto& row : profile.rows) {
    if (row.share >= least_share_shown) {
      text += line(row);
      continue;
    }
    if (row.seconds == 0) continue;
    ++count;
    small.seconds += row.seconds;
    small.share += row.share;
  }
  small.part = fmt::format("{} smaller", count);
  return count > 0 ? text + line(small) : text;
}

// JSON

nlohmann::json number_or_null(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

nlohmann::json to_json(const ProfileRow& row) {
  return {{"part", row.part},
          {"name", row.name},
          {"seconds", row.seconds},
          {"share", row.share},
          {"calls", row.calls},
          {"flops_per_s", number_or_null(row.flops_per_s)},
          {"bytes_per_s", number_or_null(row.bytes_per_s)},
          {"share_of_bound", number_or_null(row.share_of_bound)}};
}

}  // namespace

StepProfile step_profile(const std::vector<StageTimes>& stages, const StageBounds& bounds) {
  StepProfile profile{.stages = static_cast<int>(stages.size()), .bounds = bounds};
  profile.updates = stages.at(0).updates;
  double seconds = 0;
  for (const auto& stage : stages) seconds += stage.seconds;
  profile.step_seconds = seconds / static_cast<double>(profile.updates * profile.stages);

  const RowMaker make(profile);
  const auto operations = sums(stages);
  for (const auto& operation : operations) profile.rows.push_back(make.row(operation));
  std::ranges::stable_sort(profile.rows, std::ranges::greater(), &ProfileRow::seconds);
  add_waits(profile.rows, stages, make);
  for (const auto& row : profile.rows)
    seconds -= row.seconds * static_cast<double>(profile.updates);
  profile.rows.push_back(make.row("wait", "idle", seconds));
  profile.products = make.row(products_of(operations));
  return profile;
}

std::string to_text(const StepProfile& profile) {
  const double stage_seconds = profile.stages * profile.step_seconds;
  std::string text = fmt::format("where a step of {:.2f} ms goes, over {}, mean of {}\n",
                                 1e3 * profile.step_seconds, counted(profile.stages, "stage"),
                                 counted(profile.updates, "update"));
  text += fmt::format("{:<10} {:<18} {:>9} {:>7} {:>7} {:>15} {:>6}\n", "part", "operation", "ms",
                      "share", "calls", "rate", "bound");
  text += rows_text(profile);
  text += line({.part = "all", .name = "", .seconds = stage_seconds, .share = 1});
  if (profile.products.seconds > 0) text += line(profile.products);
  return text + fmt::format(
                    "bounds of a stage ({}): products {:.1f} GFLOP/s, copies {:.1f} GB/s read and "
                    "written\n",
                    profile.bounds.conditions, profile.bounds.flops_per_s / 1e9,
                    profile.bounds.bytes_per_s / 1e9);
}

nlohmann::json to_json(const StepProfile& profile) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& row : profile.rows) rows.push_back(to_json(row));
  return {{"stages", profile.stages},
          {"updates", profile.updates},
          {"step_seconds", profile.step_seconds},
          {"bounds",
           {{"flops_per_s", profile.bounds.flops_per_s},
            {"bytes_per_s", profile.bounds.bytes_per_s},
            {"conditions", profile.bounds.conditions}}},
          {"products", to_json(profile.products)},
          {"rows", std::move(rows)}};
}

}  // namespace penstock::observe
