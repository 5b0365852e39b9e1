// One directory of a disk cache that holds the KV of every form of one model: with the weights as in its
// files and quantised, and with every type of KV. Each form finds its own KV after a restart, in host memory
// afterwards, and none of the others, whose answers differ.
#include <gtest/gtest.h>

#include "engine/loaded_model.h"
#include "model/mapped_file.h"
#include "storage/payload_codec.h"
#include "tests/engine/engine_tiers.h"
#include "tests/engine/exactness_law.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using namespace exactness;  // NOLINT
using testing_support::EngineTiers;
using testing_support::LoadedRunner;
using testing_support::OpenDisk;

constexpr KvType kKvTypes[] = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0};
const Quantization kWeights[] = {{}, WeightFormat::kQ8_0, WeightFormat::kQ4_0};
const testing_support::DriverLimits kLimits{192, 200, 8};

class QuantisedForms : public testing::Test {
 protected:
  void SetUp() override {
    testing_support::WriteTinyModel(folder_.path(), 40, {.head_dim = 32, .intermediate = 64, .bf16 = true});
    model_.config = *ParseModelConfig(*ReadSmallFile(folder_.path() / "config.json", 1 << 16));
    model_.weights_hash = {1, 2};  // the files are the same for all forms
  }

  LoadedRunner Load(Quantization weights) const {
    return testing_support::LoadRunner(folder_.path(), "auto", 1, kLimits, numerics::kLatest, weights);
  }

  // Runs the workload on a new engine, whose device memory is too small for it, with the tiers of a daemon
  // that starts.
  Outcome RunWithTiers(const LoadedRunner& loaded, Quantization weights, KvType kv,
                       const Workload& workload) {
    exactness::Setup setup;
    setup.kv_dtype = kv;
    setup.one_by_one = true;
    setup.blocks = 14;  // one more than the longest sequence has
    setup.host_blocks = 30;
    setup.disk = true;
    setup.load_policy = LoadPolicy::kLoad;
    model_.quantization = weights;
    const KvLayout layout = loaded.model->shape().Kv(setup.block_tokens, setup.kv_dtype);
    const BlockKey fingerprint = Fingerprint(IdentityOf(model_, *loaded.backend, layout));
    const auto tiers = *EngineTiers::Create({.layout = layout,
                                             .host_blocks = setup.host_blocks,
                                             .fingerprint = fingerprint,
                                             .codec = ChooseCodec(kv.name()),
                                             .store = OpenDisk(disk_.path() / "disk", fingerprint, &clock_)},
                                            loaded.backend.get());
    return exactness::Run(loaded, workload, setup, tiers->lower_tiers(), fingerprint);
  }

  static int FromDisk(const Outcome& outcome) {
    return outcome.heard.front()->usage.tokens[static_cast<size_t>(TokenSource::kDisk)];
  }

  const testing_support::TempDir folder_, disk_;
  LoadedModel model_;
  SystemClock clock_;
};

TEST_F(QuantisedForms, EachServesOnlyItsOwnKv) {
  Workload workload = MakeWorkload(42, 12, 120, 64);
  Prng prng(41);
  Request first;
  for (int i = 0; i < 100; ++i) first.prompt.push_back(static_cast<TokenId>(prng.Below(64)));
  first.sampling.max_tokens = 8;
  first.sampling.logprobs = 2;
  workload.requests.insert(workload.requests.begin(), std::move(first));
  std::vector<std::vector<GeneratedToken>> answers;
  for (const int time : {0, 1}) {
    Coverage coverage;
    for (const Quantization& weights : kWeights) {
      const LoadedRunner loaded = Load(weights);
      for (const KvType kv : kKvTypes) {
        SCOPED_TRACE(std::string(weights ? weights->name() : "the files'") + " weights, " +
                     std::string(kv.name()) + " KV, time " + std::to_string(time));
        const Outcome alone = exactness::Run(loaded, workload, Alone(exactness::Setup(), kv));
        const Outcome got = RunWithTiers(loaded, weights, kv, workload);
        ExpectSame(workload, alone, got);
        EXPECT_EQ(FromDisk(got), time == 0 ? 0 : 96) << "six blocks of 16";
        coverage.Add(got.stats);
        const auto& answer = got.heard.front()->tokens;
        for (size_t other = 0; time == 0 && other < answers.size(); ++other)
          EXPECT_FALSE(testing_support::SameTokens(answers[other], answer)) << "form " << other;
        answers.push_back(answer);
      }
    }
    EXPECT_GT(coverage.host, 0u);
    EXPECT_GT(coverage.evictions, 0u);
  }
}

}  // namespace
}  // namespace prefixd
