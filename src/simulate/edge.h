#pragma once
// A bounded channel between two pieces of the model, as times.

#include <array>
#include <cstddef>
#include <cstdint>

#include "schedule/lowering.h"

namespace penstock::simulate {

/// Keeps the last `edge_capacity` messages: a message can be sent once the one so many before it
/// was received, so older times are never asked for.
class Edge {
 public:
  struct Message {
    std::int64_t number = 0;  // of the micro-batch, counted over the run
    double made = 0;          // put on the link by the sender
    double arrives = 0;       // can be received from then on
    double received = 0;      // once it was
  };

  int from = 0;  // stages
  int to = 0;
  int wire = -1;         // which direction of which link, -1 within a stage
  double occupancy = 0;  // seconds that a message occupies it
  double latency = 0;
  bool sender_waits = false;
  bool receiver_waits = false;

  bool has_message() const { return sent_ > received_; }
  bool has_room() const { return sent_ - received_ < schedule::edge_capacity; }
  /// When the place became free that the next message takes. Needs has_room().
  double room_since() const { return slot(sent_).received; }
  /// Needs has_message().
  const Message& front() const { return slot(received_); }

  void send(const Message& message) { slot(sent_++) = message; }
  void receive(double time) { slot(received_++).received = time; }

 private:
  static constexpr auto capacity = static_cast<std::size_t>(schedule::edge_capacity);
  Message& slot(std::uint64_t number) { return messages_[number % capacity]; }
  const Message& slot(std::uint64_t number) const { return messages_[number % capacity]; }

  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  std::array<Message, capacity> messages_{};
};

}  // namespace penstock::simulate
