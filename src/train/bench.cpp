#include "train/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/cpu.h"
#include "base/error.h"
#include "engine/pinning.h"

namespace penstock::train {
namespace {

constexpr std::array<config::Precision, 2> precisions{config::Precision::fp32,
                                                      config::Precision::bf16};

/// One worker with each number of threads, then as many as the cores hold.
std::vector<Workers> arrangements(const std::vector<int>& asked) {
  const int cores = static_cast<int>(engine::usable_cores().size());
  std::vector<Workers> result;
  for (const int threads :
       asked.empty() ? std::set{1, cores} : std::set(asked.begin(), asked.end())) {
    if (threads > cores) {
      throw user_error("bench", "--threads {} is more than the {} usable core{}; give 1 to {}",
                       threads, cores, cores == 1 ? "" : "s", cores);
    }
    result.push_back({.count = 1, .threads = threads});
    const Workers all = all_cores(threads);
    if (all.count > 1) result.push_back(all);
  }
  return result;
}

std::string_view text(config::Precision precision) {
  return precision == config::Precision::bf16 ? "bf16" : "fp32";
}

std::string text(const Workers& workers) {
  return fmt::format("{} x {}", workers.count, workers.threads);
}

std::string bar(double value, double longest) {
  constexpr double width = 20;
  return std::string(static_cast<std::size_t>(std::lround(width * value / longest)), '#');
}

std::string products_text(const std::vector<ProductRates>& products) {
  std::string text = fmt::format("{:<22}", "products, GFLOP/s");
  for (const auto kind : product_kinds) text += fmt::format("{:>9}", name(kind));
  text += fmt::format("{:>10}\n", "best");
  double longest = 0;
  for (const auto& rates : products) longest = std::max(longest, rates.best());
  for (const auto& rates : products) {
    text +=
        fmt::format("  {:<6}{:>10}    ", train::text(rates.precision), train::text(rates.workers));
    for (const auto kind : product_kinds) text += fmt::format("{:>9.1f}", rates.best(kind) / 1e9);
    text += fmt::format("{:>10.1f} {}\n", rates.best() / 1e9, bar(rates.best(), longest));
  }
  return text;
}

std::string size_text(std::int64_t bytes) {
  const std::int64_t mebibytes = bytes >> 20;
  return mebibytes > 0 ? fmt::format("{} MiB", mebibytes) : fmt::format("{} KiB", bytes >> 10);
}

std::string copies_text(const std::vector<CopyRate>& copies) {
  std::string text = "copies, GB/s read and written\n";
  for (const auto& rate : copies) {
    double longest = 0;  // a cache is another scale
    for (const auto& other : copies) {
      if (other.place == rate.place) longest = std::max(longest, other.bytes_per_s);
    }
    text += fmt::format("  {:<6}{:>10}    {:<36}{:>10.1f} {}\n", name(rate.place),
                        train::text(rate.workers), size_text(rate.buffer_bytes) + " at once",
                        rate.bytes_per_s / 1e9, bar(rate.bytes_per_s, longest));
  }
  return text;
}

nlohmann::ordered_json to_json(const ProductRates& rates) {
  nlohmann::ordered_json object{{"precision", text(rates.precision)},
                                {"workers", rates.workers.count},
                                {"threads", rates.workers.threads},
                                {"flops_per_s", rates.best()},
                                {"shapes", nlohmann::ordered_json::array()}};
  for (const auto& rate : rates.measured) {
    object["shapes"].push_back({{"kind", name(rate.kind)},
                                {"n", rate.n},
                                {"in", rate.in},
                                {"out", rate.out},
                                {"flops_per_s", rate.flops_per_s}});
  }
  return object;
}

}  // namespace

Bench bench(const BenchOptions& options) {
  const auto workers = arrangements(options.threads);
  // Products get most of the time: they are many, and some are long.
  const double runs = static_cast<double>(workers.size());
  const double of_products = 0.7 * options.seconds / (2 * runs);
  const double of_copies = 0.2 * options.seconds / (2 * runs);
  Bench result;
  for (const auto precision : precisions) {
    for (const auto& load : workers) {
      result.products.push_back(product_rates(precision, load, of_products));
    }
  }
  for (const auto& load : workers) {
    result.copies.push_back(copy_rate(CopyPlace::memory, load, of_copies));
  }
  for (const auto& load : workers) {
    if (load.threads > 1) continue;  // what fits one core's cache is not worth sharing
    result.copies.push_back(copy_rate(CopyPlace::cache, load, of_copies));
  }
  result.hop_seconds = hop_seconds(0.1 * options.seconds);
  return result;
}

std::string to_text(const Bench& bench) {
  return fmt::format(
             "{}, {} usable cores; rates of one worker, W x T: W workers of T threads at once\n",
             cpu_model(), engine::usable_cores().size()) +
         products_text(bench.products) + copies_text(bench.copies) +
         fmt::format("channel, from sending to the receiver's return: {:.1f} us\n",
                     1e6 * bench.hop_seconds);
}

nlohmann::ordered_json to_json(const Bench& bench) {
  nlohmann::ordered_json object{{"products", nlohmann::ordered_json::array()},
                                {"copies", nlohmann::ordered_json::array()}};
  for (const auto& rates : bench.products) object["products"].push_back(to_json(rates));
  for (const auto& rate : bench.copies) {
    object["copies"].push_back({{"place", name(rate.place)},
                                {"workers", rate.workers.count},
                                {"threads", rate.workers.threads},
                                {"buffer_bytes", rate.buffer_bytes},
                                {"bytes_per_s", rate.bytes_per_s}});
  }
  object["hop_seconds"] = bench.hop_seconds;
  return object;
}

}  // namespace penstock::train
