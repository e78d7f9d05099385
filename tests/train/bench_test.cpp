#include "train/bench.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace penstock::train {
namespace {

using testing::HasSubstr;

Bench example() {
  const ProductRates fp32{config::Precision::fp32,
                          {1, 2},
                          {{ProductKind::square, 16, 16, 16, 50e9},
                           {ProductKind::forward, 8, 4, 2, 60e9},
                           {ProductKind::input_gradient, 8, 4, 2, 40e9},
                           {ProductKind::weight_gradient, 8, 4, 2, 30e9}}};
  ProductRates bf16 = fp32;
  bf16.precision = config::Precision::bf16;
  bf16.measured[1].flops_per_s = 120e9;
  return {{fp32, bf16},
          {{CopyPlace::memory, {4, 1}, 64 << 20, 10e9},
           {CopyPlace::memory, {1, 1}, 64 << 20, 20e9},
           {CopyPlace::cache, {1, 1}, 64 << 10, 400e9}},
          2.5e-6};
}

TEST(BenchText, HasABarPerLine) {
  const std::string text = to_text(example());
  EXPECT_THAT(text, HasSubstr("products, GFLOP/s            mm  forward       dX       dW      "
                              "best\n"));
  EXPECT_THAT(text,
              HasSubstr("  fp32       1 x 2         50.0     60.0     40.0     30.0      60.0 "
                        "##########\n"));
  EXPECT_THAT(text, HasSubstr("     120.0 ####################\n"));
  EXPECT_THAT(text, HasSubstr("  memory     4 x 1    64 MiB at once                            "
                              "10.0 ##########\n"));
  EXPECT_THAT(text, HasSubstr("20.0 ####################\n"));
  EXPECT_THAT(text, HasSubstr("64 KiB at once                           400.0 "
                              "####################\n"));
  EXPECT_THAT(text, HasSubstr(": 2.5 us\n"));
}

TEST(BenchJson, KeysAndValues) {
  const auto json = to_json(example());
  EXPECT_EQ(json["products"][1]["precision"], "bf16");
  EXPECT_EQ(json["products"][1]["workers"], 1);
  EXPECT_EQ(json["products"][1]["threads"], 2);
  EXPECT_EQ(json["products"][1]["flops_per_s"], 120e9);
  EXPECT_EQ(json["products"][0]["shapes"][1].dump(),
            R"({"kind":"forward","n":8,"in":4,"out":2,"flops_per_s":60000000000.0})");
  EXPECT_EQ(json["copies"][2].dump(), R"({"place":"cache","workers":1,"threads":1,)"
                                      R"("buffer_bytes":65536,"bytes_per_s":400000000000.0})");
  EXPECT_EQ(json["hop_seconds"], 2.5e-6);
}

}  // namespace
}  // namespace penstock::train
