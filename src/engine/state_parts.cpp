#include "engine/state_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace penstock::engine {
namespace {

std::string share_place(std::int64_t batch) { return fmt::format("share.{}.", batch); }

std::string message_place(std::int64_t number) { return fmt::format("in_transit.{:06}.", number); }

}  // namespace

void add_share(StageState& state, std::int64_t batch, const comm::Contribution& share) {
  const std::string place = share_place(batch);
  const auto count = static_cast<std::int64_t>(share.squares.size());
  at::Tensor parameters = at::empty({count}, at::kLong);
  at::Tensor values = at::empty({count}, at::kDouble);
  for (std::size_t i = 0; i < share.squares.size(); ++i) {
    parameters.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(share.squares[i].parameter);
    values.mutable_data_ptr<double>()[i] = share.squares[i].value;
  }
  state.tensors[place + "parameters"] = std::move(parameters);
  state.tensors[place + "squares"] = std::move(values);
  state.add_real(place + "loss", share.loss);
  if (!share.tied_input.empty()) state.add(place + "tied_input", share.tied_input);
  if (!share.tied_output.empty()) state.add(place + "tied_output", share.tied_output);
}

comm::Contribution share_of(const StageState& state, std::int64_t batch) {
  const std::string place = share_place(batch);
  const at::Tensor& parameters = state.tensor(place + "parameters");
  const at::Tensor& values = state.tensor(place + "squares");
  comm::Contribution share;
  for (std::int64_t i = 0; i < parameters.numel(); ++i) {
    share.squares.push_back({static_cast<std::size_t>(parameters.const_data_ptr<std::int64_t>()[i]),
                             values.const_data_ptr<double>()[i]});
  }
  share.loss = state.real(place + "loss");
  if (state.tensors.contains(place + "tied_input")) {
    share.tied_input = state.floats(place + "tied_input");
  }
  if (state.tensors.contains(place + "tied_output")) {
    share.tied_output = state.floats(place + "tied_output");
  }
  return share;
}

std::vector<std::int64_t> batches_of_shares(const StageState& state) {
  std::vector<std::int64_t> batches;
  for (const auto& part : state.parts_behind("share.")) batches.push_back(std::stoll(part));
  std::ranges::sort(batches);
  return batches;
}

void add_message(StageState& state, std::int64_t number, const MessageInTransit& message) {
  const std::string place = message_place(number);
  const auto& receive = message.receive;
  state.add_integer(place + "kind", static_cast<std::int64_t>(receive.kind));
  state.add_integer(place + "batch", receive.batch);
  state.add_integer(place + "micro_batch", receive.micro_batch);
  state.add_integer(place + "version", receive.version);
  state.add_integer(place + "chunk", receive.chunk);
  state.add_integer(place + "sent_version", message.sent_version);
  state.add(place + "payload", message.payload);
}

std::vector<MessageInTransit> messages_in_transit(const StageState& state) {
  std::vector<MessageInTransit> messages;
  for (const auto& part : state.parts_behind("in_transit.")) {
    const std::string place = "in_transit." + part + ".";
    const schedule::Action receive{static_cast<schedule::ActionKind>(state.integer(place + "kind")),
                                   state.integer(place + "batch"),
                                   state.integer(place + "micro_batch"),
                                   state.integer(place + "version"),
                                   static_cast<std::int32_t>(state.integer(place + "chunk"))};
    messages.push_back(
        {receive, state.integer(place + "sent_version"), state.tensor(place + "payload")});
  }
  return messages;
}

}  // namespace penstock::engine
