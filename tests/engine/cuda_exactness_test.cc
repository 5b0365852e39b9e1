// The law on an emulated device: cache on == cache off, bit for bit, also with tiers below the device, whose
// copies run beside the steps, as late as they may. The tokens and log probabilities of every request are
// those of the same request alone on a device.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/engine/cuda_machine.h"
#include "tests/engine/engine_tiers.h"
#include "tests/engine/exactness_law.h"
#include "tests/support/rounds.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

// Setup and Run are names of testing::Test as well.
using exactness::Alone;
using exactness::Coverage;
using exactness::ExpectSame;
using exactness::MakeWorkload;
using exactness::Outcome;
using exactness::RandomSetup;
using exactness::Workload;
using testing_support::CudaMachine;
using testing_support::EngineTiers;

constexpr exactness::Setup kMost{.context = 64, .step_tokens = 64, .max_sequences = 4};
constexpr int kRequests = 14, kLongest = 50, kRounds = 8, kTieredRounds = 5;

// In every second round several sequences run at once, in short chunks, in a pool that is too small for them.
exactness::Setup PlainSetup(Prng& prng, KvType kv, int round) {
  exactness::Setup setup = RandomSetup(prng, kMost, kv);
  if (round % 2 == 0) return setup;
  setup.prefix_cache = true;
  setup.max_sequences = kMost.max_sequences;
  setup.step_tokens = static_cast<int>(prng.Between(setup.max_sequences, 16));
  setup.block_tokens = std::min(setup.block_tokens, 4);
  setup.blocks =
      static_cast<uint32_t>(kMost.context / setup.block_tokens + 1) + static_cast<uint32_t>(prng.Below(4));
  return setup;
}

exactness::Setup TieredSetup(Prng& prng, KvType kv, int round) {
  exactness::Setup setup = RandomSetup(prng, kMost, kv);
  setup.block_tokens = std::min(setup.block_tokens, 16);
  const auto one_sequence = static_cast<uint32_t>(kMost.context / setup.block_tokens + 1);
  // The device holds little more than a sequence, so that much goes down and comes back.
  setup.blocks = one_sequence + static_cast<uint32_t>(prng.Below(8));
  setup.prefix_cache = true;
  if (round % 4 != 1) setup.host_blocks = static_cast<uint32_t>(prng.Between(4, 40));
  setup.disk = round % 4 != 2;
  if (prng.Chance(0.7)) setup.load_policy = LoadPolicy::kLoad;
  return setup;
}

// How a model is served, and what it is to do.
struct Form {
  KvType kv;
  Quantization weights = {};
  int requests = kRequests, tiered_rounds = kTieredRounds;
  std::string Name() const {
    return std::string(kv.name()) + (weights ? "_with_" + std::string(weights->name()) : "");
  }
};

class CudaExactness : public testing::TestWithParam<Form> {
 protected:
  CudaExactness() { testing_support::WriteTinyModel(folder_.path(), 1, Shape()); }
  // Query heads in groups of 3, and a head dimension that is no multiple of 16. Where weights are quantised,
  // groups of 2, of 32, in a single layer: large tiles of their kernels take long for a small matrix.
  static testing_support::TinyModelShape Shape() {
    if (GetParam().weights)
      return {.hidden = 32, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 32, .intermediate = 32};
    return {.hidden = 40, .heads = 3, .kv_heads = 1, .head_dim = 24, .bf16 = GetParam().kv == DType::kBF16};
  }
  static testing_support::DriverLimits Limits() {
    return {kMost.context, kMost.step_tokens, kMost.max_sequences};
  }
  // By the way the copies run. The bits must not depend on it.
  std::unique_ptr<CudaMachine> Machine(uint64_t seed, bool late_copies) const {
    return std::make_unique<CudaMachine>(
        folder_.path(),
        cuda_emulation::EmulatedOptions{.seed = seed, .exact_products = false, .late_copies = late_copies},
        Limits(), GetParam().weights);
  }
  void CheckWithTiers();

  const testing_support::TempDir folder_;
};

TEST_P(CudaExactness, WithoutLowerTiers) {
  Coverage coverage;
  const Workload workload = MakeWorkload(3, kRequests, kLongest, Shape().vocab);
  const Outcome expected = exactness::Run(Machine(1, false)->loaded, workload, Alone(kMost, GetParam().kv));
  Prng prng(7);
  for (int round = 0; round < testing_support::Rounds(kRounds); ++round) {
    const auto machine = Machine(static_cast<uint64_t>(round) + 2, round % 4 < 2);
    const exactness::Setup setup = PlainSetup(prng, GetParam().kv, round);
    SCOPED_TRACE(setup.ToString());
    const Outcome got = exactness::Run(machine->loaded, workload, setup);
    ExpectSame(workload, expected, got);
    coverage.Add(got.stats);
    if (HasFailure()) return;
  }
  EXPECT_GT(coverage.hits, 0u);
  if (testing_support::kSanitized) return;  // too few rounds for the rest
  EXPECT_GT(coverage.preemptions, 0u) << "the setups must be tight enough to show it";
  EXPECT_GT(coverage.evictions, 0u);
  EXPECT_GT(coverage.partial_copies, 0u);
  EXPECT_GT(coverage.shared, 0u);
}

void CudaExactness::CheckWithTiers() {
  Coverage coverage;
  uint64_t spilled = 0, beside = 0;
  const Workload workload = MakeWorkload(4, GetParam().requests, kLongest, Shape().vocab);
  const Outcome expected = exactness::Run(Machine(1, true)->loaded, workload, Alone(kMost, GetParam().kv));
  Prng prng(8);
  for (int round = 0; round < testing_support::Rounds(GetParam().tiered_rounds); ++round) {
    const auto machine = Machine(static_cast<uint64_t>(round) + 2, round % 2 == 0);
    const exactness::Setup setup = TieredSetup(prng, GetParam().kv, round);
    SCOPED_TRACE(setup.ToString());
    const EngineTiers::Options options{
        .layout = machine->loaded.model->shape().Kv(setup.block_tokens, setup.kv_dtype),
        .host_blocks = setup.host_blocks,
        .fingerprint = {static_cast<uint64_t>(round), 1},
        .codec = prng.Chance(0.5) ? CodecChoice{}
                                  : CodecChoice{PayloadCodec::kPlanesZstd,
                                                static_cast<uint32_t>(setup.kv_dtype.element_bytes())}};
    const auto tiers = *EngineTiers::Create(options, machine->loaded.backend.get());
    // Twice: the second time, much of what is asked for lies in the tiers, from another engine on the disk.
    for (int time = 0; time < 2; ++time) {
      const Outcome got =
          exactness::Run(machine->loaded, workload, setup, tiers->lower_tiers(), options.fingerprint);
      ExpectSame(workload, expected, got);
      coverage.Add(got.stats);
      for (const uint64_t bytes : got.stats.transfers.written_bytes) spilled += bytes;
    }
    beside += machine->runtime.beside_copies();
    EXPECT_EQ(machine->runtime.conflicts(), 0u) << "a step used memory that a copy was using";
    if (HasFailure()) return;
  }
  EXPECT_GT(spilled, 0u);
  EXPECT_GT(coverage.disk, 0u);
  EXPECT_GT(beside, 0u) << "copies must run beside steps";
  if (testing_support::kSanitized) return;
  EXPECT_GT(coverage.host, 0u);
  EXPECT_GT(coverage.evictions, 0u);
}

TEST_P(CudaExactness, WithAHostAndADiskTier) { CheckWithTiers(); }

// Chunks of few and of many rows, which other kernels multiply, and KV of 8 bits in every tier.
class CudaQuantizedExactness : public CudaExactness {};
TEST_P(CudaQuantizedExactness, WithAHostAndADiskTier) { CheckWithTiers(); }

INSTANTIATE_TEST_SUITE_P(Kv, CudaExactness,
                         testing::Values(Form{DType::kF32}, Form{DType::kF16}, Form{DType::kBF16}),
                         [](const auto& info) { return info.param.Name(); });
INSTANTIATE_TEST_SUITE_P(Forms, CudaQuantizedExactness,
                         testing::Values(Form{KvType::kQ8_0, WeightFormat(WeightFormat::kQ8_0), 12, 4},
                                         Form{KvType::kFp8, WeightFormat(WeightFormat::kQ4_0), 12, 4}),
                         [](const auto& info) { return info.param.Name(); });

}  // namespace
}  // namespace prefixd
