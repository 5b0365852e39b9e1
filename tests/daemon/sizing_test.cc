#include "daemon/sizing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMiB = 1 << 20;

Options Defaults() { return BuildOptions({}).value(); }

// 4 KiB of KV per token, so 64 KiB per block of 16.
ModelRequirements SmallModel() {
  return {.max_positions = 2048,
          .max_positions_reason = "max_position_embeddings",
          .weight_bytes = 90 * kMiB,
          .activation_bytes = 10 * kMiB,
          .kv = {.layers = 8, .kv_heads = 2, .head_dim = 64, .block_tokens = 16, .dtype = DType::kF16}};
}

MemoryState Free(uint64_t bytes) { return {.available = bytes, .total = 2 * bytes}; }

TEST(DeriveEngineLimits, TakesHalfOfTheMemoryBesideTheWeights) {
  const EngineLimits limits = DeriveEngineLimits(Defaults(), SmallModel(), Free(300 * kMiB)).value();
  EXPECT_EQ(limits.kv_bytes_per_token, 4096u);
  EXPECT_EQ(limits.device_cache_bytes, 100 * kMiB);
  EXPECT_EQ(limits.blocks, 1600u);
  EXPECT_EQ(limits.longest_context, 1599 * 16);  // one block is the spare block
  EXPECT_EQ(limits.context, 2048);               // the context of the model
  EXPECT_EQ(limits.sequences_that_fit, 1599 / 128);
  EXPECT_EQ(limits.max_sequences, 64);
  EXPECT_EQ(limits.step_tokens, 512);
  EXPECT_EQ(limits.max_queue, 256);
}

TEST(DeriveEngineLimits, ShrinksTheContextToThePool) {
  Options options = Defaults();
  options.device_cache = 33 * 64 * 1024 + 5;  // 33 blocks and 5 bytes
  const EngineLimits limits = DeriveEngineLimits(options, SmallModel(), {}).value();
  EXPECT_EQ(limits.blocks, 33u);
  EXPECT_EQ(limits.context, 512);
  EXPECT_EQ(limits.sequences_that_fit, 1);
  EXPECT_EQ(limits.device_cache_bytes, 33u * 64 * 1024);
}

TEST(DeriveEngineLimits, RejectsImpossibleOptionsWithTheRemedy) {
  Options options = Defaults();
  EXPECT_THAT(DeriveEngineLimits(options, SmallModel(), Free(50 * kMiB)).status().message(),
              HasSubstr("the weights take 90.0 MiB and the activations 10.0 MiB"));
  options.context = 4096;
  EXPECT_THAT(DeriveEngineLimits(options, SmallModel(), Free(300 * kMiB)).status().message(),
              HasSubstr("the 2048 that the model supports (max_position_embeddings)"));
  options.context = 2048;
  options.device_cache = 1 * kMiB;
  EXPECT_THAT(DeriveEngineLimits(options, SmallModel(), {}).status().message(),
              HasSubstr("set device-cache to 8454144 bytes"));
  options.device_cache = 129 * 64 * 1024;  // the bytes that the message names
  EXPECT_EQ(DeriveEngineLimits(options, SmallModel(), {}).value().context, 2048);
  options.device_cache = 64 * 1024;
  EXPECT_THAT(DeriveEngineLimits(options, SmallModel(), {}).status().message(),
              HasSubstr("holds no sequence"));
  options.step_tokens = 32;
  EXPECT_THAT(DeriveEngineLimits(options, SmallModel(), {}).status().message(),
              HasSubstr("below max-sequences, 64"));
}

TEST(DeriveEngineLimits, RejectsACacheThatIsTooLargeAndWarnsOfOneThatMayNotFit) {
  Options options = Defaults();
  options.device_cache = int64_t{1024} << 40;
  EXPECT_THAT(DeriveEngineLimits(options, SmallModel(), Free(300 * kMiB)).status().message(),
              HasSubstr("device-cache: 1024.0 TiB are more than the 600.0 MiB of memory"));
  ModelRequirements tiny = SmallModel();
  tiny.kv = {.layers = 1, .kv_heads = 1, .head_dim = 2, .block_tokens = 1, .dtype = DType::kF16};
  options.device_cache = int64_t{4} << 30;
  EXPECT_THAT(DeriveEngineLimits(options, tiny, {}).status().message(),
              HasSubstr("make 536870912 blocks; the limit is 268435456"));
  options.device_cache = 250 * kMiB;
  const EngineLimits tight = DeriveEngineLimits(options, SmallModel(), Free(300 * kMiB)).value();
  EXPECT_EQ(tight.blocks, 4000u);
  EXPECT_THAT(tight.warnings, ElementsAre(HasSubstr("more than the 300.0 MiB of memory that are free now")));
  options.device_cache = 200 * kMiB;
  EXPECT_THAT(DeriveEngineLimits(options, SmallModel(), Free(300 * kMiB)).value().warnings, IsEmpty());
}

}  // namespace
}  // namespace prefixd
