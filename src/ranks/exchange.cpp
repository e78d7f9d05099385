#include "ranks/exchange.h"

#include <fmt/format.h>

#include <memory>
#include <stdexcept>
#include <vector>

#include "ranks/tags.h"

namespace penstock::ranks {
namespace {

constexpr int shares_tag = static_cast<int>(Tag::shares);
constexpr int totals_tag = static_cast<int>(Tag::totals);

template <class T>
at::Tensor as_tensor(std::vector<T>& values) {
  if (values.empty()) return {};
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())},
                       c10::CppTypeToScalarType<T>::value);
}

template <class T>
std::vector<T> as_vector(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  const T* data = tensor.const_data_ptr<T>();
  return {data, data + tensor.numel()};
}

struct Part {
  std::int64_t batch = 0;
  double loss = 0;
  std::vector<double> squares;
  std::vector<float> tied;  // to rank 0: the output's gradient; from it: the sum
};

Frame encode_part(Part& part) {
  return {ByteWriter().put(part.batch).put(part.loss).take(),
          {as_tensor(part.squares), as_tensor(part.tied)}};
}

Part decode_part(std::int64_t batch, int from, const Frame& frame) {
  ByteReader reader(frame.head);
  Part part;
  part.batch = reader.get<std::int64_t>();
  part.loss = reader.get<double>();
  part.squares = as_vector<double>(frame.tensors.at(0));
  part.tied = as_vector<float>(frame.tensors.at(1));
  if (part.batch != batch) {
    throw std::logic_error(fmt::format("rank {} reduces batch {} while this one reduces batch {}",
                                       from, part.batch, batch));
  }
  return part;
}

void add(comm::MergedShares& shares, const Part& part) {
  if (part.squares.size() != shares.squares.size()) {
    throw std::logic_error("ranks disagree on the number of parameters");
  }
  for (std::size_t i = 0; i < shares.squares.size(); ++i) shares.squares[i] += part.squares[i];
  shares.loss += part.loss;
}

void exchange_on_rank_0(Group& group, std::size_t tied_parameter, std::int64_t batch,
                        comm::MergedShares& shares) {
  int head_rank = 0;
  for (int peer = 1; peer < group.size(); ++peer) {
    Part part = decode_part(batch, peer, group.receive(peer, shares_tag));
    add(shares, part);
    if (part.tied.empty()) continue;
    head_rank = peer;
    shares.tied_output = std::move(part.tied);
  }
  if (tied_parameter != comm::Reduction::no_parameter) {
    comm::form_tied_sum(shares, tied_parameter);
  }
  for (int peer = 1; peer < group.size(); ++peer) {
    Part part{batch, shares.loss, shares.squares, {}};
    if (peer == head_rank) part.tied = *shares.tied;
    group.send(peer, totals_tag, encode_part(part));
  }
}

void exchange_with_rank_0(Group& group, std::int64_t batch, comm::MergedShares& shares) {
  Part mine{batch, shares.loss, std::move(shares.squares), std::move(shares.tied_output)};
  group.send(0, shares_tag, encode_part(mine));
  Part total = decode_part(batch, 0, group.receive(0, totals_tag));
  shares.loss = total.loss;
  shares.squares = std::move(total.squares);
  shares.tied_output.clear();
  if (!total.tied.empty()) {
    shares.tied = std::make_shared<const std::vector<float>>(std::move(total.tied));
  }
}

}  // namespace

comm::Reduction::Exchange make_exchange(Group& group, std::size_t tied_parameter) {
  return [&group, tied_parameter](std::int64_t batch, comm::MergedShares& shares) {
    if (group.rank() == 0) {
      exchange_on_rank_0(group, tied_parameter, batch, shares);
    } else {
      exchange_with_rank_0(group, batch, shares);
    }
  };
}

}  // namespace penstock::ranks
