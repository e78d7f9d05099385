#include "train/machine_bounds.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

#include "comm/channel.h"
#include "engine/executor.h"
#include "engine/pinning.h"
#include "kernels/linear.h"

namespace penstock::train {
namespace {

using Work = std::function<void()>;

constexpr std::int64_t square_size = 2048;
constexpr std::int64_t layer_rows = 1024;
constexpr std::array<std::int64_t, 2> layer_widths{512, 1024};

std::vector<ProductRate> products() {
  std::vector<ProductRate> products{{ProductKind::square, square_size, square_size, square_size}};
  for (const auto kind : product_kinds) {
    if (kind == ProductKind::square) continue;
    for (const auto width : layer_widths) products.push_back({kind, layer_rows, width, width});
  }
  return products;
}

Work make_product(const ProductRate& product, at::ScalarType type) {
  const at::Tensor x = at::randn({product.n, product.in}).to(type);
  const at::Tensor dy = at::randn({product.n, product.out}).to(type);
  const at::Tensor weight = at::randn({product.out, product.in}).to(type);
  switch (product.kind) {
    case ProductKind::square:
      return [x, weight] { (void)at::mm(x, weight); };
    case ProductKind::forward:
      return [x, weight] { (void)kernels::linear(x, weight); };
    case ProductKind::input_gradient:
      return [dy, weight] { (void)kernels::linear_input_gradient(dy, weight); };
    case ProductKind::weight_gradient:
      return [dy, x, gradient = at::zeros({product.out, product.in})] {
        kernels::linear_add_weight_gradient(gradient, dy, x);
      };
  }
  throw std::logic_error("unknown kind of product");
}

std::int64_t buffer_bytes(CopyPlace place, int workers) {
  constexpr std::int64_t mebibyte = std::int64_t{1} << 20;
  if (place == CopyPlace::cache) return mebibyte / 16;
  return std::clamp(512 * mebibyte / workers, 8 * mebibyte, 64 * mebibyte);
}

/// By the worker's own intra-op threads, as sweeps over memory are.
Work make_copy(std::int64_t bytes) {
  const at::Tensor from = at::ones({bytes}, at::kByte);
  const at::Tensor into = at::zeros({bytes}, at::kByte);
  return [=] {
    const auto* source = from.const_data_ptr<std::uint8_t>();
    auto* target = into.mutable_data_ptr<std::uint8_t>();
    at::parallel_for(0, bytes, bytes / at::get_num_threads(), [=](auto begin, auto end) {
      std::memcpy(target + begin, source + begin, static_cast<std::size_t>(end - begin));
    });
  };
}

using Hops = comm::Channel<engine::Message<at::Tensor>>;

struct Closing {
  Hops& there;
  Hops& back;
  ~Closing() {
    there.close();
    back.close();
  }
};

void send_back(Hops& there, Hops& back) {
  try {
    while (true) back.send(there.receive());
  } catch (const comm::Closed&) {
  }
}

}  // namespace

std::string_view name(ProductKind kind) {
  switch (kind) {
    case ProductKind::square:
      return "mm";
    case ProductKind::forward:
      return "forward";
    case ProductKind::input_gradient:
      return "dX";
    case ProductKind::weight_gradient:
      return "dW";
  }
  throw std::logic_error("unknown kind of product");
}

std::string_view name(CopyPlace place) { return place == CopyPlace::cache ? "cache" : "memory"; }

double ProductRates::best(std::optional<ProductKind> kind) const {
  double best = 0;
  for (const auto& rate : measured) {
    if (!kind || rate.kind == *kind) best = std::max(best, rate.flops_per_s);
  }
  return best;
}

ProductRates product_rates(config::Precision precision, const Workers& workers, double seconds) {
  const auto type = precision == config::Precision::bf16 ? at::kBFloat16 : at::kFloat;
  ProductRates rates{precision, workers, products()};
  const double share = seconds / static_cast<double>(rates.measured.size());
  for (auto& product : rates.measured) {
    const double flops = 2.0 * static_cast<double>(product.n * product.in * product.out);
    product.flops_per_s =
        flops * calls_per_second(workers, share, [&] { return make_product(product, type); });
  }
  return rates;
}

CopyRate copy_rate(CopyPlace place, const Workers& workers, double seconds) {
  CopyRate rate{place, workers, buffer_bytes(place, workers.count)};
  rate.bytes_per_s =
      2.0 * static_cast<double>(rate.buffer_bytes) *
      calls_per_second(workers, seconds, [&] { return make_copy(rate.buffer_bytes); });
  return rate;
}

double hop_seconds(double seconds) {
  Hops there(1);
  Hops back(1);
  const auto cores = engine::usable_cores();
  std::jthread other([&] {
    engine::pin_this_thread(engine::cores_of_stage(cores, 1, 2, 1));
    send_back(there, back);
  });
  const Closing closing{there, back};
  const double round_trips = calls_per_second({.count = 1, .threads = 1}, seconds, [&] {
    return [&] {
      there.send({});
      (void)back.receive();
    };
  });
  return 0.5 / round_trips;
}

}  // namespace penstock::train
