// The law: cache on == cache off, bit for bit. Random prompt trees run through engines of every backend, KV
// dtype, thread count, chunk size, batch mix and pool size, with evictions and preemptions; every token,
// logprob and top logprob equals that of the same request run alone, without a cache, in one chunk, by the
// reference backend.
#include <gtest/gtest.h>

#include "base/prng.h"
#include "engine/engine.h"
#include "tests/support/engine_driver.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using testing_support::LoadedRunner;
using testing_support::Recorder;

constexpr int kContext = 192;
constexpr int kMaxRows = 200;
constexpr int kMaxSequences = 8;

struct Workload {
  std::vector<Request> requests;  // without listeners
};

// Prompts that share prefixes, cut anywhere, some repeated whole.
Workload MakeWorkload(uint64_t seed, int requests, int longest, int vocab) {
  Prng prng(seed);
  Workload workload;
  for (int i = 0; i < requests; ++i) {
    Request request;
    if (i > 0 && prng.Chance(0.75)) {
      const auto& parent = workload.requests[prng.Below(workload.requests.size())].prompt;
      const size_t cut = prng.Chance(0.25) ? parent.size() : prng.Below(parent.size() + 1);
      request.prompt.assign(parent.begin(), parent.begin() + static_cast<ptrdiff_t>(cut));
    }
    const int length = static_cast<int>(prng.Between(1, longest));
    while (static_cast<int>(request.prompt.size()) < length)
      request.prompt.push_back(static_cast<TokenId>(prng.Below(vocab)));
    SamplingParams& sampling = request.sampling;
    sampling.max_tokens = static_cast<int>(prng.Between(1, 10));
    sampling.ignore_eos = true;
    sampling.logprobs = 3;
    sampling.seed = prng.Next();
    sampling.temperature = prng.Chance(0.5) ? 0.0f : 0.9f;
    if (prng.Chance(0.3)) sampling.top_p = 0.9f;
    workload.requests.push_back(std::move(request));
  }
  return workload;
}

struct Setup {
  int block_tokens = 16;
  uint32_t blocks = 1000;
  int step_tokens = kMaxRows;
  int max_sequences = kMaxSequences;
  DType kv_dtype = DType::kF32;
  bool prefix_cache = true;
  uint64_t seed = 0;  // of the moments of submission
  bool one_by_one = false;

  std::string ToString() const {
    return "block_tokens=" + std::to_string(block_tokens) + " blocks=" + std::to_string(blocks) +
           " step_tokens=" + std::to_string(step_tokens) + " max_sequences=" + std::to_string(max_sequences) +
           " kv=" + std::string(DTypeName(kv_dtype)) + " cache=" + std::to_string(prefix_cache) +
           " seed=" + std::to_string(seed);
  }
};

struct Outcome {
  std::vector<std::vector<GeneratedToken>> tokens;
  EngineStats stats;
};

Outcome Run(const LoadedRunner& loaded, const Workload& workload, const Setup& setup) {
  SystemClock clock;
  EngineOptions options;
  options.context = kContext;
  options.max_sequences = setup.max_sequences;
  options.step_tokens = setup.step_tokens;
  options.max_queue = 1000;
  options.block_tokens = setup.block_tokens;
  options.blocks = setup.blocks;
  options.kv_dtype = setup.kv_dtype;
  options.prefix_cache = setup.prefix_cache;
  auto engine = Engine::Create(options, loaded.model.get(), loaded.backend.get(), &clock);
  PREFIXD_CHECK(engine.ok()) << engine.status().ToString();
  Prng prng(setup.seed);
  std::vector<std::shared_ptr<Recorder>> recorders;
  // Half of the engines wait for every step, the others launch the next one before they report.
  const auto turn = [&engine = **engine, waits = setup.one_by_one || prng.Chance(0.5)] {
    if (waits) return engine.Step();
    if (!engine.Advance()) engine.WaitForWork(std::chrono::seconds(1));
    return !engine.idle();
  };
  for (Request request : workload.requests) {
    recorders.push_back(std::make_shared<Recorder>());
    request.listener = recorders.back();
    PREFIXD_CHECK((*engine)->Submit(std::move(request)).ok());
    for (int turns = setup.one_by_one ? 10000 : static_cast<int>(prng.Below(4)); turns > 0 && turn();
         --turns) {
    }
  }
  for (int turns = 0; turn(); ++turns) {
    (*engine)->CheckInvariants();
    PREFIXD_CHECK(turns < 20000) << setup.ToString();
  }
  Outcome outcome;
  outcome.stats = (*engine)->Stats();
  EXPECT_EQ(outcome.stats.blocks[0].leased, 0u) << setup.ToString();
  for (size_t i = 0; i < recorders.size(); ++i) {
    EXPECT_EQ(recorders[i]->finish, FinishReason::kLength) << setup.ToString();
    EXPECT_EQ(recorders[i]->usage.total(), static_cast<int>(workload.requests[i].prompt.size()));
    outcome.tokens.push_back(recorders[i]->tokens);
  }
  return outcome;
}

Setup RandomSetup(Prng& prng, DType dtype) {
  Setup setup;
  setup.kv_dtype = dtype;
  setup.block_tokens = 1 << prng.Between(1, 5);
  const uint32_t one_sequence = static_cast<uint32_t>(kContext / setup.block_tokens + 1);
  setup.blocks = prng.Chance(0.6) ? one_sequence + static_cast<uint32_t>(prng.Below(10)) : one_sequence * 20;
  setup.max_sequences = static_cast<int>(prng.Between(1, kMaxSequences));
  setup.step_tokens = static_cast<int>(prng.Chance(0.3) ? kMaxRows : prng.Between(setup.max_sequences, 48));
  setup.prefix_cache = prng.Chance(0.85);
  setup.seed = prng.Next();
  return setup;
}

struct Coverage {
  uint64_t preemptions = 0, evictions = 0, partial_copies = 0, hits = 0, shared = 0;
};

// `rounds` random setups per backend, thread count and dtype.
Coverage CheckLaw(const std::filesystem::path& folder, int requests, int longest, int rounds, uint64_t seed) {
  const testing_support::DriverLimits limits{kContext, kMaxRows, kMaxSequences};
  const LoadedRunner reference = testing_support::LoadRunner(folder, "ref", 1, limits);
  Coverage coverage;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Workload workload =
        MakeWorkload(seed + static_cast<uint64_t>(dtype), requests, longest, reference.model->shape().vocab);
    Setup alone;
    alone.kv_dtype = dtype;
    alone.prefix_cache = false;
    alone.one_by_one = true;
    const Outcome expected = Run(reference, workload, alone);
    EXPECT_EQ(expected.stats.prefix_hit_tokens, 0u);
    Prng prng(seed ^ 0x5EED);
    for (const std::string& backend : testing_support::RunnableBackends()) {
      for (const int threads : {1, 2, 3}) {
        if (backend == "ref" && threads > 1) continue;  // it has one
        const LoadedRunner loaded = testing_support::LoadRunner(folder, backend, threads, limits);
        for (int round = 0; round < rounds; ++round) {
          const Setup setup = RandomSetup(prng, dtype);
          SCOPED_TRACE(backend + " threads=" + std::to_string(threads) + " " + setup.ToString());
          const Outcome got = Run(loaded, workload, setup);
          for (size_t i = 0; i < expected.tokens.size(); ++i) {
            EXPECT_TRUE(testing_support::SameTokens(expected.tokens[i], got.tokens[i]))
                << "request " << i << " of " << workload.requests[i].prompt.size()
                << " tokens\nalone: " << testing_support::Describe(expected.tokens[i])
                << "\nhere:  " << testing_support::Describe(got.tokens[i]);
          }
          coverage.preemptions += got.stats.preemptions;
          coverage.evictions += got.stats.cache.evicted_blocks[0];
          coverage.partial_copies += got.stats.cache.partial_copies;
          coverage.hits += got.stats.prefix_hit_tokens;
          coverage.shared += got.stats.prompt_tokens[static_cast<int>(TokenSource::kShared)];
          if (testing::Test::HasFailure()) return coverage;
        }
      }
    }
  }
  return coverage;
}

void ExpectLaw(const testing_support::TinyModelShape& shape, uint64_t seed, int requests, int rounds) {
  const testing_support::TempDir folder;
  testing_support::WriteTinyModel(folder.path(), seed, shape);
  const Coverage coverage = CheckLaw(folder.path(), requests, 120, rounds, seed);
  EXPECT_GT(coverage.preemptions, 0u) << "the setups must be tight enough to show it";
  EXPECT_GT(coverage.evictions, 0u);
  EXPECT_GT(coverage.partial_copies, 0u);
  EXPECT_GT(coverage.hits, 0u);
  EXPECT_GT(coverage.shared, 0u);
}

TEST(Exactness, TinyModels) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    ExpectLaw({.hidden = 32,
               .layers = 2,
               .heads = 4,
               .kv_heads = seed == 0   ? 4
                           : seed == 1 ? 2
                                       : 1,
               .head_dim = seed == 2 ? 12 : 8},
              seed, 30, 6);
  }
}

// KV is kept for all positions in all layers, so that a prefix is reused exactly also where a window no
// longer sees it. Windows below, at and above a block, and ones that other layers lack.
TEST(Exactness, WindowsBiasesAndNorms) {
  const std::pair<std::string, std::string> families[] = {
      {"mistral", R"(,"sliding_window":5)"},
      {"mistral", R"(,"sliding_window":32)"},
      {"qwen2", R"(,"use_sliding_window":true,"sliding_window":17,"max_window_layers":1)"},
      {"qwen3", R"(,"attention_bias":true,"use_sliding_window":true,"sliding_window":40,)"
                R"("layer_types":["sliding_attention","full_attention"],"hidden_act":"relu")"},
      {"llama", R"(,"attention_bias":true,"mlp_bias":true,"hidden_act":"gelu_pytorch_tanh",)"
                R"("rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":32})"},
  };
  uint64_t seed = 10;
  for (const auto& [model_type, more] : families) {
    SCOPED_TRACE(model_type + more);
    ExpectLaw({.model_type = model_type, .more = more}, ++seed, 24, 4);
  }
}

TEST(Exactness, DemoModel) {
  const auto folder = testing_support::SourceDir() / "deploy/models/demo";
  ASSERT_TRUE(std::filesystem::exists(folder / "model.safetensors")) << "the demo model is part of the tree";
  EXPECT_GT(CheckLaw(folder, 6, 50, 2, 1).hits, 0u);
}

class GoldenExactness : public testing::TestWithParam<const char*> {};
TEST_P(GoldenExactness, Holds) {
  PREFIXD_NEED_SHARED(std::string("golden/") + GetParam());
  EXPECT_GT(CheckLaw(testing_support::SharedDir() / "golden" / GetParam(), 8, 60, 2, 2).hits, 0u);
}
INSTANTIATE_TEST_SUITE_P(Folders, GoldenExactness,
                         testing::Values("llama-gqa", "llama3-rope", "llama-mqa-linear", "mistral", "qwen2",
                                         "qwen2-yarn", "qwen3"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace prefixd
