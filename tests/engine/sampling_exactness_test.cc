// The law of exactness over the sampling options: tokens, log probabilities and those of the prompt are the
// same bits alone, without a cache and in one chunk, as in company, with a cache, in any chunks, with
// preemptions and whatever a request may read.
#include <gtest/gtest.h>

#include "base/prng.h"
#include "engine/engine.h"
#include "tests/support/engine_driver.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using testing_support::LoadedRunner;
using testing_support::Recorder;

constexpr int kContext = 96;
constexpr int kMaxRows = 100;
constexpr int kMaxSequences = 6;
constexpr int kVocab = 64;

void RandomSampling(Prng& prng, SamplingParams* sampling) {
  sampling->seed = prng.Next();
  sampling->temperature = prng.Chance(0.4) ? 0.0f : 1.2f;
  sampling->max_tokens = static_cast<int>(prng.Between(0, 14));
  sampling->min_tokens = static_cast<int>(prng.Below(4));
  if (prng.Chance(0.3)) sampling->stop_token_ids = {static_cast<TokenId>(prng.Below(kVocab)), 5};
  if (prng.Chance(0.3)) sampling->top_k = static_cast<int>(prng.Between(2, 20));
  if (prng.Chance(0.3)) sampling->top_p = 0.8f;
  if (prng.Chance(0.3)) sampling->min_p = 0.05f;
  if (prng.Chance(0.4)) sampling->repetition_penalty = prng.Chance(0.5) ? 1.4f : 0.8f;
  if (prng.Chance(0.4)) sampling->presence_penalty = 0.9f;
  if (prng.Chance(0.4)) sampling->frequency_penalty = prng.Chance(0.5) ? 0.6f : -0.4f;
  for (size_t i = prng.Chance(0.4) ? prng.Below(5) : 0; i > 0; --i)
    sampling->logit_bias.push_back(
        {static_cast<TokenId>(prng.Below(kVocab)), static_cast<float>(prng.Between(-100, 100)) / 10});
  if (prng.Chance(0.6)) sampling->logprobs = static_cast<int>(prng.Below(4));
  if (prng.Chance(0.4)) sampling->prompt_logprobs = static_cast<int>(prng.Below(4));
}

// Prompts that share prefixes, cut anywhere, some repeated whole.
std::vector<Request> MakeRequests(uint64_t seed, int count) {
  Prng prng(seed);
  std::vector<Request> requests;
  for (int i = 0; i < count; ++i) {
    Request request;
    if (i > 0 && prng.Chance(0.75)) {
      const auto& parent = requests[prng.Below(requests.size())].prompt;
      const size_t cut = prng.Chance(0.3) ? parent.size() : prng.Below(parent.size() + 1);
      request.prompt.assign(parent.begin(), parent.begin() + static_cast<ptrdiff_t>(cut));
    }
    const size_t length = static_cast<size_t>(prng.Between(1, 75));
    while (request.prompt.size() < length) request.prompt.push_back(static_cast<TokenId>(prng.Below(kVocab)));
    RandomSampling(prng, &request.sampling);
    request.read_cache = prng.Chance(0.8);
    requests.push_back(std::move(request));
  }
  return requests;
}

struct Company {
  int block_tokens = 16;
  uint32_t blocks = 1000;
  int step_tokens = kMaxRows;
  int max_sequences = 1;
  int prompt_logit_rows = kContext;
  bool prefix_cache = false;
  bool one_by_one = true;
  uint64_t seed = 0;  // of the moments of submission

  std::string ToString() const {
    return "block_tokens=" + std::to_string(block_tokens) + " blocks=" + std::to_string(blocks) +
           " step_tokens=" + std::to_string(step_tokens) + " max_sequences=" + std::to_string(max_sequences) +
           " prompt_logit_rows=" + std::to_string(prompt_logit_rows) +
           " cache=" + std::to_string(prefix_cache) + " seed=" + std::to_string(seed);
  }
};

Company RandomCompany(Prng& prng, int prompt_logit_rows) {
  Company company;
  company.block_tokens = 1 << prng.Between(1, 5);
  const uint32_t one_sequence = static_cast<uint32_t>(kContext / company.block_tokens + 1);
  company.blocks = prng.Chance(0.7) ? one_sequence + static_cast<uint32_t>(prng.Below(8)) : one_sequence * 20;
  company.max_sequences = static_cast<int>(prng.Between(2, kMaxSequences));
  company.step_tokens =
      static_cast<int>(prng.Chance(0.3) ? kMaxRows : prng.Between(company.max_sequences, 40));
  company.prompt_logit_rows = prompt_logit_rows;
  company.prefix_cache = prng.Chance(0.85);
  company.one_by_one = false;
  company.seed = prng.Next();
  return company;
}

struct Outcome {
  std::vector<std::shared_ptr<Recorder>> heard;  // by request
  EngineStats stats;
};

Outcome Serve(const std::filesystem::path& folder, std::string_view backend, int threads,
              const std::vector<Request>& requests, const Company& company) {
  const LoadedRunner loaded = testing_support::LoadRunner(
      folder, backend, threads, {kContext, kMaxRows, company.max_sequences, company.prompt_logit_rows});
  SystemClock clock;
  EngineOptions options;
  options.context = kContext;
  options.max_sequences = company.max_sequences;
  options.step_tokens = company.step_tokens;
  options.max_queue = 1000;
  options.prompt_logit_rows = company.prompt_logit_rows;
  options.block_tokens = company.block_tokens;
  options.blocks = company.blocks;
  options.prefix_cache = company.prefix_cache;
  options.eos = {3, 9};
  auto engine = Engine::Create(options, loaded.model.get(), loaded.backend.get(), &clock);
  PREFIXD_CHECK(engine.ok()) << engine.status().ToString();
  Prng prng(company.seed);
  Outcome outcome;
  for (Request request : requests) {
    outcome.heard.push_back(std::make_shared<Recorder>());
    request.listener = outcome.heard.back();
    PREFIXD_CHECK((*engine)->Submit(std::move(request)).ok());
    for (int steps = company.one_by_one ? 10000 : static_cast<int>(prng.Below(4));
         steps > 0 && (*engine)->Step(); --steps) {
    }
  }
  for (int steps = 0; (*engine)->Step(); ++steps) {
    (*engine)->CheckInvariants();
    PREFIXD_CHECK(steps < 20000) << company.ToString();
  }
  outcome.stats = (*engine)->Stats();
  EXPECT_EQ(outcome.stats.blocks[0].leased, 0u);
  return outcome;
}

void ExpectSame(const Request& request, const Recorder& alone, const Recorder& here) {
  EXPECT_EQ(alone.finish, here.finish);
  EXPECT_EQ(here.usage.total(), static_cast<int>(request.prompt.size()));
  if (!request.read_cache) {
    EXPECT_EQ(here.usage.cached(), 0);
  }
  EXPECT_TRUE(testing_support::SameTokens(alone.tokens, here.tokens))
      << "alone: " << testing_support::Describe(alone.tokens)
      << "\nhere:  " << testing_support::Describe(here.tokens);
  EXPECT_TRUE(testing_support::SameTokens(alone.prompt_logprobs, here.prompt_logprobs))
      << "alone: " << testing_support::Describe(alone.prompt_logprobs)
      << "\nhere:  " << testing_support::Describe(here.prompt_logprobs);
  const bool scored = request.sampling.prompt_logprobs >= 0;
  EXPECT_EQ(here.prompt_logprobs.size(), scored ? request.prompt.size() - 1 : 0);
  if (scored && request.prompt.size() > 1) {
    EXPECT_EQ(here.usage.cached(), 0) << "logits of what is cached are not there";
  }
}

TEST(SamplingExactness, HoldsInEveryCompany) {
  const testing_support::TempDir folder;
  testing_support::WriteTinyModel(folder.path(), 5);
  uint64_t preemptions = 0, recomputed = 0, hits = 0, shared = 0, bypassed = 0;
  Prng prng(77);
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const std::vector<Request> requests = MakeRequests(seed, 40);
    const Outcome alone = Serve(folder.path(), "ref", 1, requests, {});
    for (const std::string& backend : testing_support::RunnableBackends()) {
      for (const int prompt_logit_rows : {1, 5, 64}) {
        const Company company = RandomCompany(prng, prompt_logit_rows);
        SCOPED_TRACE(backend + " " + company.ToString());
        const Outcome here = Serve(folder.path(), backend, backend == "ref" ? 1 : 2, requests, company);
        for (size_t i = 0; i < requests.size(); ++i) {
          SCOPED_TRACE("request " + std::to_string(i) + " of " + std::to_string(requests[i].prompt.size()));
          ExpectSame(requests[i], *alone.heard[i], *here.heard[i]);
        }
        if (HasFailure()) return;
        preemptions += here.stats.preemptions;
        recomputed += here.stats.recomputed_tokens;
        hits += here.stats.prefix_hit_tokens;
        shared += here.stats.prompt_tokens[static_cast<int>(TokenSource::kShared)];
        if (company.prefix_cache) bypassed += here.stats.miss_tokens[static_cast<int>(MissReason::kDisabled)];
      }
    }
  }
  EXPECT_GT(preemptions, 0u) << "the companies must be tight enough to show it";
  EXPECT_GT(recomputed, 0u);
  EXPECT_GT(hits, 0u);
  EXPECT_GT(shared, 0u);
  EXPECT_GT(bypassed, 0u);
}

}  // namespace
}  // namespace prefixd
