#include "ranks/frame.h"

namespace penstock::ranks {
namespace {

constexpr std::int64_t undefined = -1;

void put_shape(ByteWriter& writer, const at::Tensor& tensor) {
  if (!tensor.defined()) {
    writer.put(undefined);
    return;
  }
  writer.put(static_cast<std::int64_t>(tensor.scalar_type())).put(tensor.dim());
  for (const std::int64_t size : tensor.sizes()) writer.put(size);
}

at::Tensor tensor_of_shape(ByteReader& reader) {
  const auto type = reader.get<std::int64_t>();
  if (type == undefined) return {};
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(reader.get<std::int64_t>()));
  for (auto& size : sizes) size = reader.get<std::int64_t>();
  return at::empty(sizes, static_cast<at::ScalarType>(type));
}

}  // namespace

Bytes pack(const Frame& frame) {
  ByteWriter writer;
  writer.put(static_cast<std::uint64_t>(frame.tensors.size()));
  for (const auto& tensor : frame.tensors) put_shape(writer, tensor);
  Bytes bytes = writer.take();
  bytes.insert(bytes.end(), frame.head.begin(), frame.head.end());
  return bytes;
}

Frame unpack(std::span<const std::byte> packed) {
  ByteReader reader(packed);
  Frame frame;
  frame.tensors.resize(static_cast<std::size_t>(reader.get<std::uint64_t>()));
  for (auto& tensor : frame.tensors) tensor = tensor_of_shape(reader);
  const auto head = reader.rest();
  frame.head.assign(head.begin(), head.end());
  return frame;
}

}  // namespace penstock::ranks
