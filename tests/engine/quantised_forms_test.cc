// One disk that holds the KV of several forms of one model: with the weights as in its files and quantised,
// and with several types of KV. Each form finds its own KV after a restart, in host memory afterwards, and
// none of the others, whose answers differ.
#include <gtest/gtest.h>

#include "base/executor.h"
#include "cache/tier_transfers.h"
#include "engine/loaded_model.h"
#include "kernels/finite.h"
#include "model/mapped_file.h"
#include "storage/memory_store.h"
#include "tests/engine/exactness_law.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using namespace exactness;  // NOLINT
using testing_support::LoadedRunner;

struct Form {
  Quantization weights;
  KvType kv;
};
constexpr Form kForms[] = {{{}, KvType::kF32},
                           {WeightFormat::kQ8_0, KvType::kF32},
                           {WeightFormat::kQ4_0, KvType::kF32},
                           {{}, KvType::kBF16},
                           {{}, KvType::kQ8_0}};
const testing_support::DriverLimits kLimits{192, 200, 8};

class QuantisedForms : public testing::Test {
 protected:
  void SetUp() override {
    testing_support::WriteTinyModel(folder_.path(), 40, {.head_dim = 32, .intermediate = 64, .bf16 = true});
    model_.config = *ParseModelConfig(*ReadSmallFile(folder_.path() / "config.json", 1 << 16));
    model_.weights_hash = {1, 2};  // the files are the same for all forms
  }

  LoadedRunner Load(const Form& form) const {
    return testing_support::LoadRunner(folder_.path(), "auto", 1, kLimits, numerics::kLatest, form.weights);
  }

  // Runs the workload on a new engine with the disk, and returns the tokens that came from it.
  Outcome RunWithDisk(const LoadedRunner& loaded, const Form& form, const Workload& workload) {
    exactness::Setup setup;
    setup.kv_dtype = form.kv;
    setup.one_by_one = true;
    setup.disk = true;
    setup.load_policy = LoadPolicy::kLoad;
    model_.quantization = form.weights;
    const KvLayout layout = loaded.model->shape().Kv(setup.block_tokens, setup.kv_dtype);
    const BlockKey fingerprint = Fingerprint(IdentityOf(model_, *loaded.backend, layout));
    const LowerTiers tiers = [&](KvPool& pool, std::function<void()> wake) {
      TierTransfers::Options options{.fingerprint = fingerprint, .block_bytes = layout.BlockBytes()};
      options.device_block = [&pool](BlockId block) {
        return std::span(pool.block(block), pool.layout().BlockBytes());
      };
      options.is_finite = [layout](std::span<const std::byte> block) { return AllFinite(block, layout); };
      options.wake = std::move(wake);
      options.clock = &clock_;
      return std::make_unique<TierTransfers>(
          std::move(options), &disk_,
          TierTransfers::Executors{.loads = &loads_, .spills = &spills_, .copies = &copies_});
    };
    return exactness::Run(loaded, workload, setup, tiers, fingerprint);
  }

  static int FromDisk(const Outcome& outcome) {
    return outcome.heard.front()->usage.tokens[static_cast<size_t>(TokenSource::kDisk)];
  }

  const testing_support::TempDir folder_;
  LoadedModel model_;
  SystemClock clock_;
  MemoryStore disk_{uint64_t{1} << 28};
  ThreadExecutor loads_{1, 256}, spills_{1, 256}, copies_{1, 256};
};

TEST_F(QuantisedForms, EachServesOnlyItsOwnKv) {
  Workload workload;
  Prng prng(41);
  Request request;
  for (int i = 0; i < 100; ++i) request.prompt.push_back(static_cast<TokenId>(prng.Below(64)));
  request.sampling.max_tokens = 8;
  request.sampling.logprobs = 2;
  workload.requests.push_back(std::move(request));
  std::vector<std::vector<GeneratedToken>> answers;
  for (const int time : {0, 1}) {
    for (const Form& form : kForms) {
      SCOPED_TRACE(std::string(form.weights ? form.weights->name() : "the files'") + " weights, " +
                   std::string(form.kv.name()) + " KV, time " + std::to_string(time));
      const LoadedRunner loaded = Load(form);
      const Outcome alone = exactness::Run(loaded, workload, Alone(exactness::Setup(), form.kv));
      const Outcome got = RunWithDisk(loaded, form, workload);
      ExpectSame(workload, alone, got);
      EXPECT_EQ(FromDisk(got), time == 0 ? 0 : 96) << "six blocks of 16";
      const auto& answer = got.heard.front()->tokens;
      for (size_t other = 0; time == 0 && other < answers.size(); ++other)
        EXPECT_FALSE(testing_support::SameTokens(answers[other], answer)) << "form " << other;
      answers.push_back(answer);
    }
  }
}

}  // namespace
}  // namespace prefixd
