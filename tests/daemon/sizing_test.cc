#include "daemon/sizing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;

Options Defaults() { return BuildOptions({}).value(); }

// 4 KiB of KV per token, so 64 KiB per block of 16.
ModelFacts SmallModel() {
  return {.max_positions = 2048,
          .weight_bytes = 100 * kMiB,
          .kv = {.layers = 8, .kv_heads = 2, .head_dim = 64, .block_tokens = 16, .dtype = DType::kF16}};
}

TEST(DeriveLimits, TakesHalfOfWhatTheWeightsLeave) {
  const Limits limits = DeriveLimits(Defaults(), SmallModel(), 300 * kMiB).value();
  EXPECT_EQ(limits.kv_bytes_per_token, 4096u);
  EXPECT_EQ(limits.device_cache_bytes, 100 * kMiB);
  EXPECT_EQ(limits.blocks, 1600u);
  EXPECT_EQ(limits.longest_context, 1599 * 16);  // one block is spare
  EXPECT_EQ(limits.context, 2048);               // the model's
  EXPECT_EQ(limits.max_sequences, 64);
  EXPECT_EQ(limits.step_tokens, 512);
  EXPECT_EQ(limits.max_queue, 256);
}

TEST(DeriveLimits, ShrinksTheContextToThePool) {
  Options options = Defaults();
  options.device_cache = 33 * 64 * 1024 + 5;  // 33 blocks and a rest
  const Limits limits = DeriveLimits(options, SmallModel(), 0).value();
  EXPECT_EQ(limits.blocks, 33u);
  EXPECT_EQ(limits.context, 512);
  EXPECT_EQ(limits.device_cache_bytes, 33u * 64 * 1024);
}

TEST(DeriveLimits, RefusesWhatCannotWorkWithTheWayOut) {
  Options options = Defaults();
  EXPECT_THAT(DeriveLimits(options, SmallModel(), 50 * kMiB).status().message(),
              HasSubstr("the weights take 100.0 MiB"));
  options.context = 4096;
  EXPECT_THAT(DeriveLimits(options, SmallModel(), 300 * kMiB).status().message(),
              HasSubstr("the 2048 the model is made for"));
  options.context = 2048;
  options.device_cache = 1 * kMiB;
  EXPECT_THAT(DeriveLimits(options, SmallModel(), 0).status().message(),
              HasSubstr("set device-cache to 8454144 bytes"));
  options.device_cache = 129 * 64 * 1024;  // exactly that
  EXPECT_EQ(DeriveLimits(options, SmallModel(), 0).value().context, 2048);
  options.device_cache = 64 * 1024;
  EXPECT_THAT(DeriveLimits(options, SmallModel(), 0).status().message(), HasSubstr("holds no sequence"));
  options.step_tokens = 32;
  EXPECT_THAT(DeriveLimits(options, SmallModel(), 0).status().message(),
              HasSubstr("below max-sequences, 64"));
}

}  // namespace
}  // namespace prefixd
