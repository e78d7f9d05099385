#include "ranks/store_host.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "ranks/loopback.h"

namespace penstock::ranks {

struct StoreHost::Parts {
  c10::intrusive_ptr<c10d::TCPStore> tcp;
  c10::intrusive_ptr<c10d::Store> store;
};

StoreHost::StoreHost() : parts_(std::make_unique<Parts>()) {
  c10d::TCPStoreOptions options;
  const auto socket = listen_on_loopback(0);
  options.masterListenFd = socket.descriptor;
  options.port = socket.port;
  options.isServer = true;
  options.waitWorkers = false;
  parts_->tcp = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  parts_->store = c10::make_intrusive<c10d::PrefixStore>(store_prefix("0"), parts_->tcp);
}

StoreHost::~StoreHost() = default;

std::uint16_t StoreHost::port() const { return parts_->tcp->getPort(); }

void StoreHost::fail(const Failure& failure) {
  const Bytes bytes = encode(failure);
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const std::vector<std::uint8_t> nothing;
  parts_->store->compareSet(failure_key, nothing,
                            std::vector<std::uint8_t>(data, data + bytes.size()));
}

std::optional<Failure> StoreHost::failure() const {
  if (!parts_->store->check({failure_key})) return std::nullopt;
  const auto value = parts_->store->get(failure_key);
  return decode_failure(std::as_bytes(std::span(value)));
}

}  // namespace penstock::ranks
