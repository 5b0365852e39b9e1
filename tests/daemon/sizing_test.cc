#include "daemon/sizing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kKiB = 1 << 10;
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kBlock = 64 * kKiB;

Options Defaults() { return BuildOptions({}).value(); }

// 4 KiB of KV per token, so 64 KiB per block of 16. Beside it 90 MiB of weights, 10 KiB of scratch for each
// token of the context, and 1 KiB of books for each block.
ModelRequirements SmallModel() {
  return {.max_positions = 2048,
          .max_positions_reason = "max_position_embeddings",
          .kv = {.layers = 8, .kv_heads = 2, .head_dim = 64, .block_tokens = 16, .type = DType::kF16},
          .other_parts = [](int context, uint32_t blocks) -> MemoryPlan {
            return {
                {"weight_bytes", "weights", 90 * kMiB, "", "a smaller model", true},
                {"scratch_bytes", "scratch", 10 * kKiB * static_cast<uint64_t>(context), "", "context", true},
                {"cache_book_bytes", "cache books", kKiB * blocks, "", "device-cache"}};
          }};
}
constexpr uint64_t kOthers = 110 * kMiB;  // at a context of 2048

MemoryState Free(uint64_t bytes) { return {.available = bytes, .total = 2 * bytes}; }

std::string Refusal(const Options& options, const MemoryState& memory) {
  return DeriveEngineLimits(options, SmallModel(), memory).status().message();
}

TEST(DeriveEngineLimits, GivesTheCacheAndItsBooksHalfOfWhatTheOtherPartsLeaveFree) {
  const EngineLimits limits =
      DeriveEngineLimits(Defaults(), SmallModel(), Free(kOthers + 2 * 65 * kMiB)).value();
  EXPECT_EQ(limits.kv_bytes_per_token, 4096u);
  EXPECT_EQ(limits.blocks, 1024u);  // of 64 KiB, with books of 1 KiB
  EXPECT_EQ(limits.device_cache_bytes, 64 * kMiB);
  EXPECT_EQ(SumOf(limits.memory), kOthers + 65 * kMiB);
  EXPECT_EQ(BytesOf(limits.memory, "device_cache_bytes"), 64 * kMiB);
  EXPECT_EQ(BytesOf(limits.memory, "cache_book_bytes"), kMiB);
  EXPECT_EQ(BytesOf(limits.memory, "scratch_bytes"), 20 * kMiB);
  EXPECT_EQ(BytesOf(limits.memory, "other_bytes"), 0u);
  EXPECT_EQ(limits.longest_context, 1023 * 16);  // one block is the spare block
  EXPECT_EQ(limits.context, 2048);               // the context of the model
  EXPECT_EQ(limits.sequences_that_fit, 1023 / 128);
  EXPECT_EQ(limits.max_sequences, 64);
  EXPECT_EQ(limits.step_tokens, 512);
  EXPECT_EQ(limits.step_seconds, 0.5);
  EXPECT_EQ(limits.max_queue, 1024);
  EXPECT_THAT(limits.warnings, IsEmpty());
}

TEST(DeriveEngineLimits, AutomaticStepsHoldEverySequence) {
  Options options = Defaults();
  options.max_sequences = 700;
  EXPECT_EQ(DeriveEngineLimits(options, SmallModel(), Free(300 * kMiB)).value().step_tokens, 700);
  EXPECT_EQ(StepTokens(options, false), 700);
  EXPECT_EQ(StepTokens(options, true), 1024);
  options.step_tokens = 900;
  EXPECT_EQ(StepTokens(options, false), 900);
  EXPECT_EQ(StepTokens(options, true), 900);
}

TEST(DeriveEngineLimits, ShrinksTheContextToThePool) {
  Options options = Defaults();
  options.device_cache = 33 * kBlock + 5;  // 33 blocks and 5 bytes
  const EngineLimits limits = DeriveEngineLimits(options, SmallModel(), {}).value();
  EXPECT_EQ(limits.blocks, 33u);
  EXPECT_EQ(limits.context, 512);
  EXPECT_EQ(limits.sequences_that_fit, 1);
  EXPECT_EQ(limits.device_cache_bytes, 33 * kBlock);
}

// A shorter context needs less scratch, so it leaves more for the cache. The chosen context is the longest
// one that fits: one more token does not.
TEST(DeriveEngineLimits, ShrinksTheContextToTheMemoryBesideIt) {
  Options options = Defaults();
  const MemoryState tight = Free(104 * kMiB);  // less than the weights and the scratch of 2048 tokens
  const EngineLimits limits = DeriveEngineLimits(options, SmallModel(), tight).value();
  EXPECT_GT(limits.context, 500);
  EXPECT_LT(limits.context, 1400);
  EXPECT_GE(limits.longest_context, limits.context);
  EXPECT_LE(SumOf(limits.memory), tight.available);
  options.context = limits.context;
  EXPECT_EQ(DeriveEngineLimits(options, SmallModel(), tight).value().blocks, limits.blocks);
  ++options.context;
  EXPECT_THAT(Refusal(options, tight), HasSubstr("do not fit the device cache"));
}

TEST(DeriveEngineLimits, RejectsImpossibleOptionsWithTheRemedy) {
  Options options = Defaults();
  EXPECT_THAT(Refusal(options, Free(50 * kMiB)),
              AllOf(HasSubstr("the smallest plan takes 90.1 MiB, but only 50.0 MiB of memory are free"),
                    HasSubstr("weights 90.0 MiB (a smaller model), device cache 128.0 KiB")));
  options.context = 4096;
  EXPECT_THAT(Refusal(options, Free(300 * kMiB)),
              HasSubstr("the 2048 that the model supports (max_position_embeddings)"));
  options.context = 2048;
  options.device_cache = 1 * kMiB;
  EXPECT_THAT(Refusal(options, {}), HasSubstr("set device-cache to 8454144 bytes"));
  options.device_cache = 129 * kBlock;  // the bytes that the message names
  EXPECT_EQ(DeriveEngineLimits(options, SmallModel(), {}).value().context, 2048);
  options.device_cache = kBlock;
  EXPECT_THAT(Refusal(options, {}), HasSubstr("holds no sequence"));
  options.step_tokens = 32;
  EXPECT_THAT(Refusal(options, {}), HasSubstr("below max-sequences, 64"));
}

TEST(DeriveEngineLimits, RejectsACacheThatIsTooLarge) {
  Options options = Defaults();
  options.device_cache = int64_t{1024} << 40;
  EXPECT_THAT(Refusal(options, Free(300 * kMiB)),
              HasSubstr("device-cache: 1024.0 TiB are more than the 600.0 MiB of memory"));
  ModelRequirements tiny = SmallModel();
  tiny.kv = {.layers = 1, .kv_heads = 1, .head_dim = 2, .block_tokens = 1, .type = DType::kF16};
  options.device_cache = int64_t{4} << 30;
  EXPECT_THAT(DeriveEngineLimits(options, tiny, {}).status().message(),
              HasSubstr("make 536870912 blocks; the limit is 268435456"));
}

// 1,600 blocks are 100 MiB, and their books 1.6 MiB.
TEST(DeriveEngineLimits, RejectsAPlanAboveTheTotalMemoryAndWarnsOfOneAboveTheFreeMemory) {
  Options options = Defaults();
  options.device_cache = 100 * kMiB;
  const uint64_t sum = kOthers + 100 * kMiB + 1600 * kKiB;
  const auto derive = [&](uint64_t available, uint64_t total) {
    return DeriveEngineLimits(options, SmallModel(), {.available = available, .total = total});
  };
  EXPECT_THAT(derive(sum, sum)->warnings, IsEmpty());
  EXPECT_EQ(SumOf(derive(sum, sum)->memory), sum);
  EXPECT_THAT(derive(sum - 1, sum)->warnings,
              ElementsAre(AllOf(HasSubstr("the memory plan of 211.6 MiB is more than the"),
                                HasSubstr("that are free now"), HasSubstr("device cache 100.0 MiB"))));
  EXPECT_THAT(derive(sum - 1, sum - 1).status().message(),
              AllOf(HasSubstr("the memory plan of 211.6 MiB is more than the"), HasSubstr("may ever have"),
                    HasSubstr("device cache 100.0 MiB (device-cache, context), weights 90.0 MiB "
                              "(a smaller model), scratch 20.0 MiB (context)")));
  EXPECT_TRUE(derive(0, 0).ok());  // the memory of the machine cannot be read
}

// Weights, scratch and blocks are on the device, and the books in the memory of the host.
TEST(DeriveEngineLimits, GivesTheCacheNineTenthsOfWhatTheOtherPartsLeaveFreeOfADevice) {
  ModelRequirements model = SmallModel();
  model.device = Free(kOthers + 100 * kMiB);
  const EngineLimits limits = DeriveEngineLimits(Defaults(), model, Free(2 * kMiB)).value();
  EXPECT_EQ(limits.blocks, 1440u);
  EXPECT_EQ(limits.device_cache_bytes, 90 * kMiB);
  EXPECT_EQ(limits.context, 2048);
  EXPECT_EQ(limits.step_tokens, 1024);
  EXPECT_THAT(limits.warnings, IsEmpty());
  EXPECT_EQ(SumOf(PartsOf(limits.memory, true)), kOthers + 90 * kMiB);
  EXPECT_EQ(SumOf(PartsOf(limits.memory, false)), 1440 * kKiB);
  // As many blocks as the host has memory for their books.
  EXPECT_EQ(DeriveEngineLimits(Defaults(), model, Free(kMiB))->blocks, 1024u);
}

TEST(DeriveEngineLimits, RefusesWhatADeviceOrItsHostCannotHold) {
  ModelRequirements model = SmallModel();
  const auto refusal = [&model](int64_t device_cache, uint64_t host) {
    Options options = Defaults();
    options.device_cache = device_cache;
    const Result<EngineLimits> limits = DeriveEngineLimits(options, model, Free(host));
    return limits.ok() ? testing::PrintToString(limits->warnings) : limits.status().message();
  };
  model.device = Free(50 * kMiB);
  EXPECT_THAT(
      refusal(kAuto, 600 * kMiB),
      AllOf(HasSubstr("the smallest plan takes 90.1 MiB, but only 50.0 MiB of device memory are free"),
            HasSubstr("weights 90.0 MiB (a smaller model)")));
  model.device = Free(kOthers + 100 * kMiB);
  EXPECT_THAT(refusal(kAuto, 1),
              HasSubstr("the smallest plan takes 2.0 KiB, but only 1 B of memory are free"));
  EXPECT_THAT(refusal(500 * int64_t{kMiB}, 600 * kMiB),
              HasSubstr("device-cache: 500.0 MiB are more than the 420.0 MiB of device memory"));
  EXPECT_THAT(
      refusal(400 * int64_t{kMiB}, 600 * kMiB),
      AllOf(HasSubstr("the memory plan of 510.0 MiB is more than the 420.0 MiB of device memory that this"),
            HasSubstr("device cache 400.0 MiB (device-cache, context)")));
  EXPECT_THAT(
      refusal(101 * int64_t{kMiB}, 600 * kMiB),
      HasSubstr("the memory plan of 211.0 MiB is more than the 210.0 MiB of device memory that are free"));
  EXPECT_THAT(refusal(64 * int64_t{kMiB}, kMiB / 2),
              HasSubstr("the memory plan of 1.0 MiB is more than the 512.0 KiB of memory that are free"));
}

TEST(DeviceMemoryText, HasEachPartAndARemedy) {
  MemoryPlan plan = {{"weight_bytes", "weights", 90 * kMiB, "", "", true},
                     {"scratch_bytes", "scratch", 20 * kMiB, "", "", true},
                     {"pinned_bytes", "pinned memory", 17 * kMiB, "", ""},
                     {"program_bytes", "program", 30 * kMiB, "", ""},
                     {"device_cache_bytes", "device cache", 400 * kMiB, "", "", true}};
  EXPECT_EQ(DeviceMemoryText(plan, {.available = 500 * kMiB, .total = 1024 * kMiB}),
            "the plan has 510.0 MiB of device memory: weights 90.0 MiB, scratch 20.0 MiB, device cache 400.0 "
            "MiB; when it was made, 500.0 MiB of 1.0 GiB were free. Lower device-cache, or free the device "
            "of others");
  plan.push_back({"host_cache_bytes", "host cache", 64 * kMiB, "", ""});
  EXPECT_THAT(
      DeviceMemoryText(plan, {.available = 500 * kMiB, .total = 1024 * kMiB}),
      HasSubstr("of others. It has 81.0 MiB of pinned memory of the host: pinned memory 17.0 MiB, host "
                "cache 64.0 MiB; if that is what lacks, lower host-cache"));
}

TEST(DeriveEngineLimits, BoundsTheTokensInFlight) {
  Options options = Defaults();
  EXPECT_EQ(MaxTokensInFlight(options, 512), (1024 + 64) * 512);  // all that queue and run
  EXPECT_EQ(MaxTokensInFlight(options, 8192), 1 << 20);
  EXPECT_EQ(MaxTokensInFlight(options, 1 << 20), 4 << 20);
  options.max_tokens_in_flight = 2047;
  EXPECT_THAT(Refusal(options, Free(300 * kMiB)),
              HasSubstr("max-tokens-in-flight: 2047 is below the context of 2048 tokens"));
  options.max_tokens_in_flight = 2048;
  EXPECT_EQ(DeriveEngineLimits(options, SmallModel(), Free(300 * kMiB))->max_tokens, 2048);
}

}  // namespace
}  // namespace prefixd
