// How fast the fused operations are, in fp32 and bf16: at the shapes of bench-10m, where the
// operands are in the caches, and on tensors that no cache holds, there as a share of the speed at
// which this machine copies memory. One thread; times are those of the thread that works. Cases
// take turns, with the copy among them, and the best of each counts.
//
// From the root of the repository, after a build:
//   build/release/bin/kernel-benchmark
//   build/release/bin/kernel-benchmark --only swiglu --seconds 10 --json

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <ctime>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/sum_of_squares.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"

namespace {

using namespace penstock;

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Case {
  std::string name;
  at::ScalarType type;
  std::int64_t rows;
  double bytes;  // read once and written once
  std::function<void()> run;
  double best = std::numeric_limits<double>::infinity();

  double rate() const { return bytes / best; }
};

const char* name_of(at::ScalarType type) { return type == at::kFloat ? "fp32" : "bf16"; }

// The shapes of bench-10m.
constexpr std::int64_t width = 256;
constexpr std::int64_t feed_forward = 768;
constexpr std::int64_t vocabulary = 8192;
constexpr std::int64_t head_width = 64;
constexpr std::int64_t rotated_heads = 6;  // 4 queries, 2 keys
constexpr std::int64_t all_heads = 8;
constexpr std::int64_t positions = 256;
constexpr std::int64_t tokens = 1024;
constexpr std::int64_t tokens_of_logits = 128;

at::Tensor normal(std::int64_t rows, std::int64_t columns, at::ScalarType type) {
  return at::randn({rows, columns}).to(type);
}

Case copy(std::int64_t bytes) {
  const at::Tensor from = at::ones({bytes / 8});
  const at::Tensor to = at::zeros({bytes / 8});
  const auto run = [from, to] {
    std::memcpy(to.mutable_data_ptr(), from.const_data_ptr(), from.nbytes());
  };
  return {"copy", at::kFloat, 0, static_cast<double>(bytes), run};
}

Case norm_squared(std::int64_t bytes) {
  const at::Tensor x = at::ones({bytes / 4});
  const auto run = [x] {
    volatile double sum =
        sum_of_squares({x.const_data_ptr<float>(), static_cast<std::size_t>(x.numel())});
    static_cast<void>(sum);
  };
  return {"squared norm", at::kFloat, 0, static_cast<double>(bytes), run};
}

/// Makes the cases of one type. rows(n, bytes): so many of them for a case that has n rows in
/// bench-10m and touches `bytes` per row.
class Cases {
 public:
  using Rows = std::function<std::int64_t(std::int64_t, double)>;
  Cases(at::ScalarType type, Rows rows, std::vector<Case>& list)
      : type_(type), size_(type == at::kFloat ? 4 : 2), rows_(std::move(rows)), list_(list) {
    norms();
    rotation();
    swiglus();
    cross_entropies();
    table();
  }

 private:
  template <class Make>
  void add(const char* name, std::int64_t rows, double bytes_per_row, Make make) {
    const std::int64_t count = rows_(rows, bytes_per_row);
    list_.push_back({name, type_, count, static_cast<double>(count) * bytes_per_row, make(count)});
  }

  void norms() {
    const at::Tensor gain = at::ones({width}, type_);
    add("norm", tokens, 2 * width * size_, [&](std::int64_t n) {
      return [x = normal(n, width, type_), gain] { kernels::rms_norm(x, gain, 1e-5); };
    });
    add("norm backward", tokens, 4 * width * size_, [&](std::int64_t n) {
      return [x = normal(n, width, type_), dy = normal(n, width, type_),
              residual = normal(n, width, type_), inverse = at::ones({n}), gain,
              gradient = at::zeros({width})] {
        kernels::rms_norm_backward(dy, x, gain, inverse, residual, gradient);
      };
    });
  }

  void rotation() {
    const auto tables = kernels::rotary_tables(positions, head_width, 1e4);
    add("rotation", tokens, 2 * rotated_heads * head_width * size_, [&](std::int64_t n) {
      return [x = normal(n, all_heads * head_width, type_), tables] {
        kernels::rotate(x, rotated_heads, head_width, positions, tables,
                        kernels::Rotation::forward);
      };
    });
  }

  void swiglus() {
    add("swiglu", tokens, 3 * feed_forward * size_, [&](std::int64_t n) {
      return [x = normal(n, 2 * feed_forward, type_)] { kernels::swiglu(x); };
    });
    add("swiglu backward", tokens, 5 * feed_forward * size_, [&](std::int64_t n) {
      return [x = normal(n, 2 * feed_forward, type_), dy = normal(n, feed_forward, type_)] {
        kernels::swiglu_backward(dy, x);
      };
    });
  }

  void cross_entropies() {
    const auto targets = [](std::int64_t n) { return at::randint(vocabulary, {n}, at::kLong); };
    add("cross-entropy", tokens_of_logits, vocabulary * size_, [&](std::int64_t n) {
      return [x = normal(n, vocabulary, type_), target = targets(n)] {
        kernels::cross_entropy(x, target);
      };
    });
    add("cross-entropy gradient", tokens_of_logits, 2 * vocabulary * size_, [&](std::int64_t n) {
      return [x = normal(n, vocabulary, type_), target = targets(n)] {
        kernels::cross_entropy_with_gradient(x, target, 1);
      };
    });
  }

  void table() {
    add("table gradient", tokens, width * (size_ + 2 * 4), [&](std::int64_t n) {
      // As many rows in the table as tokens, so that large cases have large tables.
      const std::int64_t rows = std::max(n, vocabulary);
      return [dy = normal(n, width, type_), gradient = at::zeros({rows, width}),
              target = at::randint(rows, {n}, at::kLong)] {
        kernels::add_embedding_gradient(gradient, dy, target);
      };
    });
  }

  at::ScalarType type_;
  double size_;
  Rows rows_;
  std::vector<Case>& list_;
};

std::vector<Case> all_cases(std::int64_t copied, const Cases::Rows& rows) {
  std::vector<Case> list{copy(copied), norm_squared(copied / 2)};
  for (const auto type : {at::kFloat, at::kBFloat16}) Cases(type, rows, list);
  return list;
}

/// A sample is at least 20 microseconds, so that the clock does not matter.
void race(std::vector<Case>& cases, double seconds) {
  std::vector<int> repeats;
  for (Case& c : cases) {
    c.run();
    const double before = thread_seconds();
    c.run();
    repeats.push_back(1 + static_cast<int>(20e-6 / (thread_seconds() - before)));
  }
  const double begin = thread_seconds();
  while (thread_seconds() - begin < seconds) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      cases[i].run();  // what the case before has left in the caches does not count
      const double before = thread_seconds();
      for (int r = 0; r < repeats[i]; ++r) cases[i].run();
      cases[i].best = std::min(cases[i].best, (thread_seconds() - before) / repeats[i]);
    }
  }
}

struct Arguments {
  std::string only;
  double seconds = 4;
  std::int64_t megabytes = 96;
  bool json = false;
};

void keep_only(std::vector<Case>& cases, const std::string& only) {
  std::erase_if(cases, [&](const Case& c) {
    return c.name != "copy" && c.name.find(only) == std::string::npos;
  });
}

void print(const std::vector<Case>& small, const std::vector<Case>& large) {
  fmt::print("{:<24}{:<6}{:>8}{:>12}{:>10}{:>14}{:>10}\n", "", "", "rows", "us", "GB/s",
             "large GB/s", "of copy");
  for (std::size_t i = 0; i < small.size(); ++i) {
    fmt::print("{:<24}{:<6}{:>8}{:>12.2f}{:>10.1f}{:>14.1f}{:>9.0f}%\n", small[i].name,
               name_of(small[i].type), small[i].rows, 1e6 * small[i].best, small[i].rate() / 1e9,
               large[i].rate() / 1e9, 100 * large[i].rate() / large[0].rate());
  }
}

void print_json(const std::vector<Case>& small, const std::vector<Case>& large) {
  auto rows = nlohmann::json::array();
  for (std::size_t i = 0; i < small.size(); ++i) {
    rows.push_back({{"kernel", small[i].name},
                    {"type", name_of(small[i].type)},
                    {"rows", small[i].rows},
                    {"seconds", small[i].best},
                    {"bytes", small[i].bytes},
                    {"large_seconds", large[i].best},
                    {"large_bytes", large[i].bytes},
                    {"share_of_copy", large[i].rate() / large[0].rate()}});
  }
  fmt::print("{}\n", nlohmann::json{{"kernels", rows}}.dump());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Fused operations at the shapes of bench-10m and against the speed of memory");
  Arguments arguments;
  app.add_option("--only", arguments.only, "kernels whose names contain this");
  app.add_option("--seconds", arguments.seconds, "for each of the two sizes");
  app.add_option("--megabytes", arguments.megabytes, "that a large case reads and writes")
      ->check(CLI::PositiveNumber);
  app.add_flag("--json", arguments.json, "one JSON object as the last line");
  CLI11_PARSE(app, argc, argv);
  at::set_num_threads(1);
  // Large results are made in memory that was used before, as in a training step.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);

  auto small = all_cases(8 * tokens * width, [](std::int64_t n, double) { return n; });
  const std::int64_t bytes = arguments.megabytes << 20;
  auto large = all_cases(bytes, [&](std::int64_t, double per_row) {
    return static_cast<std::int64_t>(static_cast<double>(bytes) / per_row);
  });
  keep_only(small, arguments.only);
  keep_only(large, arguments.only);
  race(small, arguments.seconds);
  race(large, arguments.seconds);
  print(small, large);
  if (arguments.json) print_json(small, large);
  return 0;
}
