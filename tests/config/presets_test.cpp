#include "config/presets.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "config/check.h"
#include "example_catalogue.h"

namespace penstock::config {
namespace {

/// Parameters of a decoder with grouped-query attention, SwiGLU and RMSNorm, no biases.
std::int64_t parameters(const ModelConfig& m) {
  const std::int64_t kv_width = m.width / m.heads * m.kv_heads;
  const std::int64_t attention = 2 * m.width * m.width + 2 * m.width * kv_width;
  const std::int64_t layer = attention + 3 * m.width * m.ff + 2 * m.width;
  return (m.tied ? 1 : 2) * m.vocab * m.width + m.layers * layer + m.width;
}

TEST(Presets, ParameterCounts) {
  EXPECT_EQ(parameters(*find_preset("smollm2-135m")), 134'515'008);
  EXPECT_EQ(parameters(*find_preset("smollm2-360m")), 361'821'120);
}

TEST(Presets, BenchmarkModel) {
  const ModelConfig* model = find_preset("bench-10m");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->layers, 8);
  EXPECT_EQ(model->width, 256);
  EXPECT_EQ(model->heads, 4);
  EXPECT_EQ(model->kv_heads, 2);
  EXPECT_EQ(model->ff, 768);
  EXPECT_EQ(model->vocab, 8192);
  EXPECT_EQ(model->seq, 256);
  EXPECT_FALSE(model->tied);
}

TEST(Presets, AllPassTheChecksAndKeepTheCommonConstants) {
  for (const ModelConfig& model : presets()) {
    const Config config = parse("[train]\nsteps = 0", "run.toml", {"model.preset=" + model.preset},
                                example_catalogue());
    EXPECT_EQ(config.model, model);
    EXPECT_EQ(model.norm_eps, 1e-5);
    EXPECT_EQ(model.rope_base, 10000.0);
  }
}

TEST(Presets, UnknownName) { EXPECT_EQ(find_preset("nanno"), nullptr); }

}  // namespace
}  // namespace penstock::config
