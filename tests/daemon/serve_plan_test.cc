#include "daemon/serve_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "daemon/serve_settings.h"
#include "tests/daemon/options_with.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using testing_support::OptionsWith;

constexpr uint64_t kGiB = uint64_t{1} << 30;

// A tokenizer with the tokens of a few letters.
constexpr const char* kTokenizer = R"({
  "version": "1.0", "added_tokens": [],
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";

// The plan for a tiny model whose heads have this size.
Result<ServePlan> PlanOf(int head_dim, const std::string& kv_dtype, ExitCode* code) {
  const testing_support::TempDir folder;
  testing_support::WriteTinyModel(folder.path(), 1, {.head_dim = head_dim});
  std::ofstream(folder.path() / "tokenizer.json") << kTokenizer;
  const Options options =
      OptionsWith({{"model", folder.path()}, {"backend", "ref"}, {"kv-dtype", kv_dtype}, {"context", "256"}});
  return MakeServePlan(options, {4 * kGiB, 8 * kGiB}, code);
}

TEST(ServePlan, KvTakesTheBytesOfItsType) {
  ExitCode code = kExitFailed;
  for (const auto& [name, bytes] : {std::pair("bf16", 64u), {"q8_0", 34u}}) {
    const Result<ServePlan> plan = PlanOf(32, name, &code);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_EQ(plan->kv_dtype.name(), name);
    EXPECT_EQ(plan->limits.kv_bytes_per_token, 2u * 2 * 2 * bytes) << "layers, K and V, KV heads";
  }
}

// What /metrics and the admin listener say while the model loads.
TEST(ServePlan, CapacitiesAreKnownBeforeTheModelIsLoaded) {
  ExitCode code = kExitFailed;
  const Result<ServePlan> plan = PlanOf(32, "bf16", &code);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const EngineStats stats = PlannedStats(*plan);
  EXPECT_EQ(stats.blocks[0].capacity(), plan->limits.blocks);
  EXPECT_EQ(stats.blocks[0].free, plan->limits.blocks);
  EXPECT_EQ(stats.block_bytes, plan->limits.kv_bytes_per_token * 16);
  EXPECT_EQ(stats.blocks[1].capacity(), 0u);
  EXPECT_FALSE(PlannedDisk(*plan).on);
}

TEST(ServePlan, RefusesHeadsThatCannotBeQuantised) {
  ExitCode code = kExitOk;
  const Result<ServePlan> plan = PlanOf(24, "q8_0", &code);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(code, kExitUsage);
  EXPECT_EQ(plan.status().message(),
            "kv-dtype: q8_0 takes heads of a multiple of 32 dimensions, and those of this model have 24; "
            "choose --kv-dtype f32");
}

TEST(ServePlan, RefusesFp8KvOnACpu) {
  ExitCode code = kExitOk;
  const Result<ServePlan> plan = PlanOf(32, "fp8", &code);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(code, kExitUsage);
  EXPECT_EQ(plan.status().message(),
            "kv-dtype: the backend ref has no kernels for fp8 KV; choose --kv-dtype q8_0, or --backend cuda");
}

}  // namespace
}  // namespace prefixd
