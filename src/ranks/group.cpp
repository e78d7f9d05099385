#include "ranks/group.h"

#include <c10/util/Logging.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "base/error.h"
#include "comm/closed.h"
#include "ranks/loopback.h"

namespace penstock::ranks {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// Gloo limits every wait; a pump may wait as long as the run lasts.
constexpr milliseconds forever = std::chrono::hours(24 * 365 * 10);
constexpr milliseconds look_distance{50};
constexpr milliseconds farewell{2000};
constexpr int clock_tag = 0;
constexpr int clock_rounds = 16;
// What every frame begins with. Longer heads follow in a message of their own.
constexpr std::int64_t block_size = 512;

at::Tensor bytes_tensor(std::int64_t size) { return at::empty({size}, at::kByte); }

std::byte* data_of(at::Tensor& tensor) {
  return reinterpret_cast<std::byte*>(tensor.mutable_data_ptr<std::uint8_t>());
}

std::shared_ptr<gloo::transport::Device> device_for(const std::string& address) {
  using c10d::ProcessGroupGloo;
  if (const auto name = environment_variable("GLOO_SOCKET_IFNAME")) {
    return ProcessGroupGloo::createDeviceForInterface(*name);
  }
  // The host's own name may stand for an address that only other hosts can use.
  if (is_loopback(address)) return ProcessGroupGloo::createDeviceForHostname(address);
  return ProcessGroupGloo::createDefaultDevice();
}

std::vector<std::uint8_t> to_store(const Bytes& bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return {data, data + bytes.size()};
}

Failure from_store(const std::vector<std::uint8_t>& value) {
  return decode_failure(std::as_bytes(std::span(value)));
}

/// While it lives, this thread takes no signals, nor do the threads that it starts.
class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t before_{};
};

std::string arrival_key(int rank) { return fmt::format("arrived/{}", rank); }

}  // namespace

struct Group::Parts {
  explicit Parts(Setup given) : setup(std::move(given)), environment(setup.environment) {}

  Setup setup;
  Environment environment;
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  nanoseconds ahead{0};

  // Gloo completes operations on a thread of its own and any thread may wait for one, but c10d
  // counts them when they are posted, without a lock.
  std::mutex posting;
  std::list<c10::intrusive_ptr<c10d::Work>> under_way;
  bool aborted = false;

  mutable std::mutex mutex;
  std::optional<Failure> failure;
  std::function<void()> on_failure;
  std::mutex calling;  // held while on_failure runs

  std::mutex watch_mutex;
  std::condition_variable_any watch_changed;
  std::jthread watcher;

  bool hosts_store() const { return environment.rank == 0 && !environment.launcher_has_store; }

  void connect_store();
  void await_all();
  std::vector<int> missing() const;
  void connect_gloo();
  void measure_clock();

  template <class Post>
  c10::intrusive_ptr<c10d::Work> post(int peer, Post&& operation);
  void finish(int peer, const c10::intrusive_ptr<c10d::Work>& work);
  void receive_into(int peer, int tag, at::Tensor tensor);
  [[noreturn]] void lost(int peer, const std::string& cause);

  void watch(const std::stop_token& stop);
  std::optional<Failure> published() const;
  void publish(const Failure& mine) noexcept;
  void learn(const Failure& final_failure);
  void abort();
  void say_farewell();
};

void Group::Parts::connect_store() {
  c10d::TCPStoreOptions options;
  options.port = environment.port;
  options.isServer = hosts_store();
  options.waitWorkers = false;
  options.timeout = setup.join_timeout;
  try {
    if (hosts_store() && is_loopback(environment.address)) {
      const auto socket = listen_on_loopback(environment.port);
      options.masterListenFd = socket.descriptor;
      options.port = socket.port;
    }
    auto tcp = c10::make_intrusive<c10d::TCPStore>(environment.address, options);
    environment.port = tcp->getPort();
    store = c10::make_intrusive<c10d::PrefixStore>(store_prefix(environment.attempt), tcp);
  } catch (const std::exception& cause) {
    throw RunFailure(fmt::format("[ranks] rank {} {} at {}:{}: {}", environment.rank,
                                 hosts_store() ? "cannot open the store" : "finds no store",
                                 environment.address, environment.port, first_line(cause)));
  }
}

std::vector<int> Group::Parts::missing() const {
  std::vector<int> ranks;
  for (int r = 0; r < environment.size; ++r) {
    if (!store->check({arrival_key(r)})) ranks.push_back(r);
  }
  return ranks;
}

void Group::Parts::await_all() {
  const auto deadline = Clock::now() + setup.join_timeout;
  if (store->add(arrival_key(environment.rank), 1) > 1) {
    throw RunFailure(fmt::format("[ranks] two processes are rank {}; give each a RANK of its own",
                                 environment.rank));
  }
  std::vector<std::string> keys;
  for (int r = 0; r < environment.size; ++r) keys.push_back(arrival_key(r));
  while (!store->check(keys)) {
    if (const auto other = published()) throw_failure(*other);
    if (Clock::now() > deadline) {
      throw RunFailure(
          fmt::format("[ranks] after {} s these of {} ranks have not come: {}",
                      std::chrono::duration_cast<std::chrono::seconds>(setup.join_timeout).count(),
                      environment.size, fmt::join(missing(), ", ")));
    }
    std::this_thread::sleep_for(look_distance);
  }
}

void Group::Parts::connect_gloo() {
  auto options = c10d::ProcessGroupGloo::Options::create(setup.join_timeout);
  options->devices.push_back(device_for(environment.address));
  options->threads = 1;  // only collectives use them
  // A connection to the store of its own: a call that waits there holds up the others of the same.
  gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(store->clone(), environment.rank,
                                                     environment.size, options);
}

template <class Post>
c10::intrusive_ptr<c10d::Work> Group::Parts::post(int peer, Post&& operation) {
  std::string cause;
  {
    const std::lock_guard lock(posting);
    if (aborted) throw comm::Closed();
    try {
      auto work = operation();
      under_way.push_back(work);
      return work;
    } catch (const std::exception& error) {
      cause = first_line(error);
    }
  }
  lost(peer, cause);
}

/// A peer that died, by whatever signal, appears here as "Connection closed by peer" in every
/// operation with it, posted or later; operations with others are not touched.
void Group::Parts::finish(int peer, const c10::intrusive_ptr<c10d::Work>& work) {
  bool done = false;
  std::string cause;
  try {
    done = work->wait(forever);  // false after abort(), from whichever thread, before or during it
  } catch (const std::exception& error) {
    cause = first_line(error);
  }
  {
    const std::lock_guard lock(posting);
    under_way.remove(work);
    if (aborted) throw comm::Closed();
  }
  if (!done) lost(peer, cause);
}

void Group::Parts::receive_into(int peer, int tag, at::Tensor tensor) {
  std::vector<at::Tensor> list{std::move(tensor)};
  finish(peer, post(peer, [&] { return gloo->recv(list, peer, tag); }));
}

/// Both clocks are read around a round trip; the shortest of several bounds the error.
void Group::Parts::measure_clock() {
  at::Tensor reading = at::zeros({1}, at::kLong);
  const auto now = [] { return Clock::now().time_since_epoch().count(); };
  const auto send_to = [&](int peer) {
    std::vector<at::Tensor> list{reading};
    finish(peer, post(peer, [&] { return gloo->send(list, peer, clock_tag); }));
  };
  if (environment.rank == 0) {
    for (int peer = 1; peer < environment.size; ++peer) {
      for (int i = 0; i < clock_rounds; ++i) {
        receive_into(peer, clock_tag, reading);
        reading.fill_(now());
        send_to(peer);
      }
    }
    return;
  }
  std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < clock_rounds; ++i) {
    const auto asked = now();
    send_to(0);
    receive_into(0, clock_tag, reading);
    const auto answered = now();
    if (answered - asked >= shortest) continue;
    shortest = answered - asked;
    ahead = nanoseconds(asked + shortest / 2 - reading.item<std::int64_t>());
  }
  if (std::abs(ahead.count()) <= shortest) ahead = nanoseconds(0);
}

void Group::Parts::watch(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    try {
      if (const auto other = published()) {
        learn(*other);
        return;
      }
    } catch (const std::exception&) {
      const int host = environment.launcher_has_store ? -1 : 0;
      const std::string who = host < 0 ? "the launcher" : "rank 0";
      learn({.rank = host,
             .lost = true,
             .user_error = false,
             .message = fmt::format("[engine] {} ended: its store is gone", who)});
      return;
    }
    std::unique_lock lock(watch_mutex);
    watch_changed.wait_for(lock, stop, look_distance, [] { return false; });
  }
}

std::optional<Failure> Group::Parts::published() const {
  if (!store->check({failure_key})) return std::nullopt;
  return from_store(store->get(failure_key));
}

/// The store keeps the first failure of all. It answers, so whoever loses a connection to this rank
/// afterwards finds it there.
void Group::Parts::publish(const Failure& mine) noexcept {
  try {
    learn(from_store(store->compareSet(failure_key, {}, to_store(encode(mine)))));
  } catch (const std::exception&) {
    learn(mine);
  }
}

void Group::Parts::learn(const Failure& final_failure) {
  std::function<void()> function;
  const std::lock_guard calls(calling);
  {
    const std::lock_guard lock(mutex);
    if (failure) return;
    failure = final_failure;
    function = on_failure;
  }
  abort();
  if (function) function();
}

void Group::Parts::lost(int peer, const std::string& cause) {
  const auto deadline = Clock::now() + setup.patience;
  try {
    while (Clock::now() < deadline && !store->check({failure_key})) {
      std::this_thread::sleep_for(look_distance / 5);
    }
  } catch (const std::exception&) {
    // The store went with the rank.
  }
  const bool closed = cause.find("closed by peer") != std::string::npos ||
                      cause.find("reset by peer") != std::string::npos;
  publish({.rank = peer,
           .lost = true,
           .user_error = false,
           .message = fmt::format("[engine] rank {} ended: {}", peer,
                                  closed ? "it closed its connections" : cause)});
  throw comm::Closed();
}

void Group::Parts::abort() {
  const std::lock_guard lock(posting);
  aborted = true;
  for (const auto& work : under_way) work->abort();
}

void Group::Parts::say_farewell() {
  if (!store) return;
  const auto deadline = Clock::now() + farewell;
  try {
    std::int64_t gone = store->add("left", 1);
    const int dead = failure && failure->lost ? 1 : 0;
    const int expected = environment.size - dead;
    while (hosts_store() && gone < expected && Clock::now() < deadline) {
      std::this_thread::sleep_for(look_distance / 5);
      gone = store->add("left", 0);
    }
  } catch (const std::exception&) {
    // Nobody is left to wait for.
  }
}

Group::Group(Setup setup) : parts_(std::make_unique<Parts>(std::move(setup))) {
  // c10d writes a backtrace for every connection that ends; what matters is said in our words.
  if (FLAGS_caffe2_log_level < 2) FLAGS_caffe2_log_level = 2;
  auto& p = *parts_;
  std::optional<NoSignals> threads_take_no_signals(std::in_place);
  p.connect_store();
  threads_take_no_signals.reset();
  p.await_all();
  threads_take_no_signals.emplace();
  try {
    p.connect_gloo();
    p.measure_clock();
  } catch (const comm::Closed&) {
    throw_failure(*p.failure);
  } catch (const std::exception& cause) {
    p.publish({.rank = p.environment.rank,
               .lost = false,
               .user_error = false,
               .message = fmt::format("[ranks] rank {} cannot connect to the others: {}",
                                      p.environment.rank, first_line(cause))});
    throw_failure(*p.failure);
  }
  p.watcher = std::jthread([&p](const std::stop_token& stop) { p.watch(stop); });
}

Group::~Group() { leave(); }

const Environment& Group::environment() const { return parts_->environment; }

nanoseconds Group::ahead_of_rank_0() const { return parts_->ahead; }

void Group::send(int to, int tag, const Frame& frame) {
  auto& p = *parts_;
  const Bytes packed = pack(frame);
  std::vector<at::Tensor> parts{bytes_tensor(block_size)};
  const auto size = static_cast<std::uint64_t>(packed.size());
  const auto inlined = std::min<std::uint64_t>(size, block_size - sizeof size);
  std::memcpy(data_of(parts[0]), &size, sizeof size);
  std::memcpy(data_of(parts[0]) + sizeof size, packed.data(), inlined);
  if (inlined < size) {
    parts.push_back(bytes_tensor(static_cast<std::int64_t>(size - inlined)));
    std::memcpy(data_of(parts[1]), packed.data() + inlined, size - inlined);
  }
  for (const auto& tensor : frame.tensors) {
    if (tensor.defined() && tensor.numel() > 0) parts.push_back(tensor.contiguous());
  }
  std::vector<c10::intrusive_ptr<c10d::Work>> works;
  for (auto& part : parts) {
    std::vector<at::Tensor> list{part};
    works.push_back(p.post(to, [&] { return p.gloo->send(list, to, tag); }));
  }
  for (const auto& work : works) p.finish(to, work);
}

Frame Group::receive(int from, int tag) {
  auto& p = *parts_;
  at::Tensor block = bytes_tensor(block_size);
  p.receive_into(from, tag, block);
  std::uint64_t size = 0;
  std::memcpy(&size, data_of(block), sizeof size);
  Bytes packed(static_cast<std::size_t>(size));
  const auto inlined = std::min<std::uint64_t>(size, block_size - sizeof size);
  std::memcpy(packed.data(), data_of(block) + sizeof size, inlined);
  if (inlined < size) {
    at::Tensor more = bytes_tensor(static_cast<std::int64_t>(size - inlined));
    p.receive_into(from, tag, more);
    std::memcpy(packed.data() + inlined, data_of(more), size - inlined);
  }
  Frame frame = unpack(packed);
  for (const auto& tensor : frame.tensors) {
    if (tensor.defined() && tensor.numel() > 0) p.receive_into(from, tag, tensor);
  }
  return frame;
}

void Group::fail(const Failure& failure) noexcept { parts_->publish(failure); }

std::optional<Failure> Group::failure() const {
  const std::lock_guard lock(parts_->mutex);
  return parts_->failure;
}

void Group::on_failure(std::function<void()> function) {
  const std::lock_guard calls(parts_->calling);
  {
    const std::lock_guard lock(parts_->mutex);
    parts_->on_failure = function;
    if (!parts_->failure) return;
  }
  if (function) function();
}

void Group::leave() {
  auto& p = *parts_;
  if (!p.watcher.joinable()) return;
  p.watcher.request_stop();
  p.watcher.join();
  p.say_farewell();
  p.under_way.clear();
  p.gloo.reset();
  p.store.reset();
}

}  // namespace penstock::ranks
