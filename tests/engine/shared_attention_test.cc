// Sequences that share a prefix of more than one span of attention: the answers have the bits of each request
// run alone without a cache, and attention reads the shared blocks once a step.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/engine/exactness_law.h"
#include "tests/support/engine_driver.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using namespace exactness;  // NOLINT
using testing_support::LoadedRunner;
using testing_support::Recorder;

std::vector<TokenId> RandomTokens(Prng& prng, int count, int vocab) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i)
    tokens.push_back(static_cast<TokenId>(prng.Below(static_cast<uint64_t>(vocab))));
  return tokens;
}

// Requests whose prompts go along a text of 1,040 tokens, all of it or the first 530, and on with short ends
// that share prefixes as well.
Workload LongPrefixes(uint64_t seed, int vocab) {
  Workload workload = MakeWorkload(seed, 7, 40, vocab);
  Prng prng(seed);
  const std::vector<TokenId> text = RandomTokens(prng, 1040, vocab);
  for (size_t i = 0; i < workload.requests.size(); ++i) {
    std::vector<TokenId>& prompt = workload.requests[i].prompt;
    prompt.insert(prompt.begin(), text.begin(), text.begin() + (i % 3 == 2 ? 530 : 1040));
    workload.requests[i].sampling.max_tokens = 8;
  }
  return workload;
}

// Runs the workload with a cache and without one on each backend that counts. Expects what `expected` has.
void ExpectLaw(const std::filesystem::path& folder, const Workload& workload, const Outcome& expected,
               Setup setup, const testing_support::DriverLimits& limits) {
  for (const std::string& backend : testing_support::RunnableBackends()) {
    if (backend == "ref") continue;
    for (const int threads : {1, 3}) {
      setup.block_tokens = threads == 1 ? 16 : 64;
      ++setup.seed;
      setup.prefix_cache = true;
      SCOPED_TRACE(backend + " threads=" + std::to_string(threads) + " " + setup.ToString());
      const LoadedRunner loaded = testing_support::LoadRunner(folder, backend, threads, limits);
      const Outcome got = Run(loaded, workload, setup);
      ExpectSame(workload, expected, got);
      EXPECT_GT(got.stats.attention.saved_bytes, 0u);
      setup.prefix_cache = false;  // each sequence has blocks of its own
      const Outcome alone = Run(loaded, workload, setup);
      ExpectSame(workload, expected, alone);
      EXPECT_EQ(alone.stats.attention.saved_bytes, 0u);
      EXPECT_GT(alone.stats.attention.read_bytes, got.stats.attention.read_bytes);
    }
  }
}

// Compares with each request run alone, without a cache, by the reference backend.
void CheckLaw(uint64_t seed, const testing_support::TinyModelShape& shape, DType kv_dtype) {
  const testing_support::TempDir folder;
  testing_support::WriteTinyModel(folder.path(), seed, shape);
  Setup setup;
  setup.context = setup.step_tokens = 1200;
  setup.kv_dtype = kv_dtype;
  const testing_support::DriverLimits limits{setup.context, setup.step_tokens, setup.max_sequences};
  const LoadedRunner reference = testing_support::LoadRunner(folder.path(), "ref", 1, limits);
  const Workload workload = LongPrefixes(seed, reference.model->shape().vocab);
  const Outcome expected = Run(reference, workload, Alone(setup, kv_dtype));
  EXPECT_EQ(expected.stats.attention, AttentionReads()) << "`ref` does not count";
  setup.step_tokens = 100;
  ExpectLaw(folder.path(), workload, expected, setup, limits);
}

TEST(SharedAttention, TheLawHoldsForSequencesThatShareSpans) {
  CheckLaw(1, {.heads = 2, .kv_heads = 1}, DType::kBF16);
  CheckLaw(2,
           {.heads = 2,
            .kv_heads = 1,
            .model_type = "qwen2",
            .more = R"(,"use_sliding_window":true,"sliding_window":600,"max_window_layers":1)"},
           DType::kF16);
}

EngineOptions SixteenSequences() {
  EngineOptions options;
  options.context = 4200;
  options.max_sequences = 16;
  options.step_tokens = 512;
  options.max_queue = 16;
  options.block_tokens = 16;
  options.blocks = 400;
  options.kv_dtype = DType::kBF16;
  return options;
}

// 16 sequences decode after 4,096 tokens that they share: 256 blocks, read once a step, and what each has
// beside them.
TEST(SharedAttention, AStepReadsTheBlocksOfASharedPrefixOnce) {
  const testing_support::TempDir folder;
  testing_support::WriteTinyModel(folder.path(), 1, {.heads = 2, .kv_heads = 1, .positions = 8192});
  const EngineOptions options = SixteenSequences();
  for (const std::string& backend : testing_support::RunnableBackends()) {
    if (backend == "ref") continue;  // it does not count
    const LoadedRunner loaded = testing_support::LoadRunner(
        folder.path(), backend, 2, {options.context, options.step_tokens, options.max_sequences});
    SystemClock clock;
    auto created = Engine::Create(options, loaded.model.get(), loaded.backend.get(), &clock, {});
    ASSERT_TRUE(created.ok()) << created.status().ToString();
    Engine& engine = **created;
    const auto submit = [&engine](std::vector<TokenId> prompt, int max_tokens) {
      Request request;
      request.prompt = std::move(prompt);
      request.sampling.max_tokens = max_tokens;
      request.sampling.ignore_eos = true;
      return testing_support::Submit(engine, std::move(request));
    };
    Prng prng(1);
    const int vocab = loaded.model->shape().vocab;
    const std::vector<TokenId> prefix = RandomTokens(prng, 4096, vocab);
    submit(prefix, 1);
    while (!engine.idle()) engine.Step();

    uint64_t beside = 0;  // tokens that the sequences have beside the prefix
    std::vector<std::shared_ptr<Recorder>> heard;
    for (int i = 0; i < 16; ++i) {
      std::vector<TokenId> prompt = prefix;
      for (const TokenId token : RandomTokens(prng, i + 1, vocab)) prompt.push_back(token);
      beside += prompt.size() - prefix.size();
      heard.push_back(submit(std::move(prompt), 10));
    }
    while (std::any_of(heard.begin(), heard.end(), [](const auto& r) { return r->tokens.empty(); }))
      engine.Step();
    const auto answered = [&heard] {
      uint64_t tokens = 0;
      for (const auto& recorder : heard) tokens += recorder->tokens.size();
      return tokens;
    };
    const KvLayout layout = loaded.model->shape().Kv(options.block_tokens, options.kv_dtype);
    for (int step = 0; step < 3; ++step) {
      beside += step == 0 ? answered() : 16;  // the step stores the KV of the tokens drawn last
      const AttentionReads before = engine.Stats().attention;
      ASSERT_EQ(engine.Stats().running, 16);
      engine.Step();
      const AttentionReads after = engine.Stats().attention;
      EXPECT_EQ(after.read_bytes - before.read_bytes,
                256 * layout.BlockBytes() + beside * layout.TokenBytes());
      EXPECT_EQ(after.saved_bytes - before.saved_bytes, 15 * 256 * layout.BlockBytes());
    }
    while (!engine.idle()) engine.Step();
  }
}

}  // namespace
}  // namespace prefixd
