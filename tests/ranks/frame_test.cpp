#include "ranks/frame.h"

#include <gmock/gmock.h>

namespace penstock::ranks {
namespace {

TEST(Bytes, GiveBackWhatWasPut) {
  const Bytes bytes = ByteWriter().put(-3).put("one two").put(true).put(0.1).take();
  ByteReader reader(bytes);
  EXPECT_EQ(reader.get<int>(), -3);
  EXPECT_EQ(reader.get_text(), "one two");
  EXPECT_TRUE(reader.get<bool>());
  EXPECT_EQ(reader.get<double>(), 0.1);
  EXPECT_TRUE(reader.rest().empty());
}

TEST(Bytes, ThatEndTooEarlyAreRefused) {
  Bytes bytes = ByteWriter().put("seven").take();
  bytes.pop_back();
  ByteReader reader(bytes);
  EXPECT_THROW(reader.get_text(), std::runtime_error);
  ByteReader empty(std::span<const std::byte>{});
  EXPECT_THROW(empty.get<int>(), std::runtime_error);
}

TEST(Frame, KeepsHeadTypesAndShapes) {
  const Frame frame{ByteWriter().put(5).take(),
                    {at::zeros({2, 3}, at::kBFloat16), at::Tensor(), at::zeros({0, 4}),
                     at::scalar_tensor(1.0, at::kDouble)}};
  const Frame copy = unpack(pack(frame));
  EXPECT_EQ(copy.head, frame.head);
  ASSERT_EQ(copy.tensors.size(), 4u);
  EXPECT_EQ(copy.tensors[0].scalar_type(), at::kBFloat16);
  EXPECT_EQ(copy.tensors[0].sizes(), at::IntArrayRef({2, 3}));
  EXPECT_FALSE(copy.tensors[1].defined());
  EXPECT_EQ(copy.tensors[2].sizes(), at::IntArrayRef({0, 4}));
  EXPECT_EQ(copy.tensors[3].dim(), 0);
  EXPECT_EQ(copy.tensors[3].scalar_type(), at::kDouble);
}

}  // namespace
}  // namespace penstock::ranks
