#include "ranks/edge_pump.h"

#include "comm/closed.h"
#include "ranks/codec.h"

namespace penstock::ranks {
namespace {

constexpr std::int64_t no_batch = -1;

bool is_end(const engine::Message<at::Tensor>& message) { return message.origin.batch == no_batch; }

}  // namespace

engine::Message<at::Tensor> end_of_edge() {
  engine::Message<at::Tensor> message;
  message.origin.batch = no_batch;
  return message;
}

void push_messages(Group& group, int to, int tag, Edge& from) {
  try {
    for (bool more = true; more;) {
      const auto message = from.receive();
      more = !is_end(message);
      group.send(to, tag, encode(message, group.ahead_of_rank_0()));
    }
  } catch (const comm::Closed&) {
    // The failure that closed the channel or the group is known to others.
  }
}

void pull_messages(Group& group, int from, int tag, Edge& to) {
  try {
    for (;;) {
      auto message = decode_message(group.receive(from, tag), group.ahead_of_rank_0());
      if (is_end(message)) return;
      to.send(std::move(message));
    }
  } catch (const comm::Closed&) {
    // As above.
  }
}

}  // namespace penstock::ranks
