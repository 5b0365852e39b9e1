// The law of exactness over the sampling options and constraints: tokens, log probabilities and those of
// the prompt are the same bits alone, without a cache and in one chunk, as in company, with a cache, in any
// chunks, with preemptions and whatever a request may read.
#include <gtest/gtest.h>

#include "tests/engine/exactness_law.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_constraint.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

// Setup and Run are names of testing::Test as well.
using exactness::Coverage;
using exactness::Outcome;
using exactness::Workload;
using testing_support::LoadedRunner;

constexpr int kVocab = 64;
constexpr TokenId kEos[] = {3, 9};
constexpr exactness::Setup kMost{
    .context = 96, .step_tokens = 100, .max_sequences = 6, .prompt_logit_rows = 96, .eos = kEos};

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

Workload MakeRequests(uint64_t seed, int count) {
  Workload workload = exactness::MakeWorkload(seed, count, 75, kVocab);
  Prng prng(seed), constrain(seed + 100);
  for (Request& request : workload.requests) {
    request.sampling = {};
    RandomSampling(prng, &request.sampling);
    request.read_cache = prng.Chance(0.8);
    if (constrain.Chance(0.2))
      request.constraint =
          testing_support::TinyConstraint(constrain.Below(testing_support::kTinyConstraints));
  }
  return workload;
}

// Whether a request with a constraint got the beginning of a text that matches, or all of one where it
// ended by itself.
bool Matches(const Request& request, const testing_support::Recorder& heard) {
  grammar::ConstraintState state(request.constraint);
  for (const GeneratedToken& token : heard.tokens) state.Append(token.token);
  return heard.finish == FinishReason::kStop && state.ended() ? state.accepts() : !state.state().dead();
}

Outcome Serve(const std::filesystem::path& folder, std::string_view backend, int threads,
              const Workload& workload, const exactness::Setup& setup) {
  const LoadedRunner loaded = testing_support::LoadRunner(
      folder, backend, threads,
      {setup.context, kMost.step_tokens, setup.max_sequences, setup.prompt_logit_rows});
  return exactness::Run(loaded, workload, setup);
}

TEST(SamplingExactness, HoldsInEveryCompany) {
  const testing_support::TempDir folder;
  testing_support::WriteTinyModel(folder.path(), 5);
  Coverage coverage;
  uint64_t bypassed = 0, constrained = 0;
  Prng prng(77);
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const Workload workload = MakeRequests(seed, 40);
    const Outcome alone = Serve(folder.path(), "ref", 1, workload, exactness::Alone(kMost, DType::kF32));
    for (size_t i = 0; i < workload.requests.size(); ++i) {
      if (workload.requests[i].constraint == nullptr) continue;
      EXPECT_TRUE(Matches(workload.requests[i], *alone.heard[i])) << i;
      constrained += alone.heard[i]->tokens.size();
    }
    for (const std::string& backend : testing_support::RunnableBackends()) {
      for (const int prompt_logit_rows : {1, 5, 64}) {
        exactness::Setup setup = exactness::RandomSetup(prng, kMost, DType::kF32);
        setup.prompt_logit_rows = prompt_logit_rows;
        SCOPED_TRACE(backend + " " + setup.ToString());
        const Outcome here = Serve(folder.path(), backend, backend == "ref" ? 1 : 2, workload, setup);
        exactness::ExpectSame(workload, alone, here);
        if (HasFailure()) return;
        coverage.Add(here.stats);
        if (setup.prefix_cache) bypassed += here.stats.miss_tokens[static_cast<int>(MissReason::kDisabled)];
      }
    }
  }
  EXPECT_GT(coverage.preemptions, 0u) << "the setups must be tight enough to show it";
  EXPECT_GT(coverage.recomputed, 0u);
  EXPECT_GT(coverage.hits, 0u);
  EXPECT_GT(coverage.shared, 0u);
  EXPECT_GT(bypassed, 0u);
  EXPECT_GT(constrained, 50u);
}

}  // namespace
}  // namespace prefixd
