#include "tests/engine/exactness_law.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <utility>

#include "base/check.h"

namespace prefixd::exactness {

using testing_support::LoadedRunner;
using testing_support::Recorder;

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

std::string Setup::ToString() const {
  return "block_tokens=" + std::to_string(block_tokens) + " blocks=" + std::to_string(blocks) +
         " step_tokens=" + std::to_string(step_tokens) + " max_sequences=" + std::to_string(max_sequences) +
         " prompt_logit_rows=" + std::to_string(prompt_logit_rows) + " kv=" + std::string(kv_dtype.name()) +
         " cache=" + std::to_string(prefix_cache) + " host_blocks=" + std::to_string(host_blocks) +
         " disk=" + std::to_string(disk) + " loads=" + std::string(LoadPolicyName(load_policy)) +
         " seed=" + std::to_string(seed);
}

Setup RandomSetup(Prng& prng, const Setup& most, KvType type) {
  Setup setup = most;
  setup.kv_dtype = type;
  setup.block_tokens = 1 << prng.Between(1, 5);
  const auto one_sequence = static_cast<uint32_t>(most.context / setup.block_tokens + 1);
  setup.blocks = prng.Chance(0.6) ? one_sequence + static_cast<uint32_t>(prng.Below(10)) : one_sequence * 20;
  setup.max_sequences = static_cast<int>(prng.Between(1, most.max_sequences));
  setup.step_tokens =
      static_cast<int>(prng.Chance(0.3) ? most.step_tokens : prng.Between(setup.max_sequences, 48));
  setup.prefix_cache = prng.Chance(0.85);
  setup.seed = prng.Next();
  return setup;
}

Setup Alone(const Setup& most, KvType type) {
  Setup setup = most;
  setup.kv_dtype = type;
  setup.prefix_cache = false;
  setup.one_by_one = true;
  return setup;
}

namespace {

EngineOptions OptionsOf(const Setup& setup, const BlockKey& fingerprint) {
  EngineOptions options;
  options.context = setup.context;
  options.max_sequences = setup.max_sequences;
  options.step_tokens = setup.step_tokens;
  options.max_queue = 1000;
  options.prompt_logit_rows = setup.prompt_logit_rows;
  options.eos.assign(setup.eos.begin(), setup.eos.end());
  options.block_tokens = setup.block_tokens;
  options.blocks = setup.blocks;
  options.kv_dtype = setup.kv_dtype;
  options.prefix_cache = setup.prefix_cache;
  options.host_blocks = setup.host_blocks;
  options.disk = setup.disk;
  options.write_through = setup.disk;
  options.load_policy = setup.load_policy;
  options.fingerprint = fingerprint;
  return options;
}

// Waits until no transfer leases a block.
void Settle(Engine& engine) {
  const auto leased = [&engine] {
    const EngineStats stats = engine.Stats();
    return stats.blocks[0].leased + stats.blocks[1].leased;
  };
  for (int turns = 0; leased() > 0; ++turns) {
    PREFIXD_CHECK(turns < 10000) << leased() << " blocks are leased";
    engine.WaitForWork(std::chrono::milliseconds(10));
    engine.Step();
  }
}

}  // namespace

Outcome Run(const LoadedRunner& loaded, const Workload& workload, const Setup& setup,
            const LowerTiers& lower_tiers, const BlockKey& fingerprint) {
  SystemClock clock;
  auto created = Engine::Create(OptionsOf(setup, fingerprint), loaded.model.get(), loaded.backend.get(),
                                &clock, lower_tiers);
  PREFIXD_CHECK(created.ok()) << created.status().ToString();
  Engine& engine = **created;
  Prng prng(setup.seed);
  Outcome outcome;
  // Half of the engines wait for every step, the others launch the next one before they report.
  const auto turn = [&engine, waits = setup.one_by_one || prng.Chance(0.5)] {
    const bool worked = waits ? engine.Step() : engine.Advance();
    if (!worked && !engine.idle()) engine.WaitForWork(std::chrono::seconds(1));
    return !engine.idle();
  };
  for (Request request : workload.requests) {
    outcome.heard.push_back(std::make_shared<Recorder>());
    request.listener = outcome.heard.back();
    PREFIXD_CHECK(engine.Submit(std::move(request)).ok());
    for (int turns = setup.one_by_one ? 10000 : static_cast<int>(prng.Below(4)); turns > 0 && turn();
         --turns) {
    }
  }
  for (int turns = 0; turn(); ++turns) {
    engine.CheckInvariants();
    PREFIXD_CHECK(turns < 20000) << setup.ToString();
  }
  Settle(engine);
  engine.CheckInvariants();
  outcome.stats = engine.Stats();
  return outcome;
}

namespace {

void ExpectSameTokens(const std::vector<GeneratedToken>& expected, const std::vector<GeneratedToken>& got) {
  EXPECT_TRUE(testing_support::SameTokens(expected, got))
      << "alone: " << testing_support::Describe(expected) << "\nhere:  " << testing_support::Describe(got);
}

void ExpectSameAnswer(const Request& request, const Recorder& expected, const Recorder& got) {
  EXPECT_TRUE(got.finish == FinishReason::kLength || got.finish == FinishReason::kStop);
  EXPECT_EQ(expected.finish, got.finish);
  EXPECT_EQ(got.usage.total(), static_cast<int>(request.prompt.size()));
  if (!request.read_cache) {
    EXPECT_EQ(got.usage.cached(), 0);
  }
  ExpectSameTokens(expected.tokens, got.tokens);
  ExpectSameTokens(expected.prompt_logprobs, got.prompt_logprobs);
  const bool scored = request.sampling.prompt_logprobs >= 0;
  EXPECT_EQ(got.prompt_logprobs.size(), scored ? request.prompt.size() - 1 : 0);
  if (scored && request.prompt.size() > 1) {
    EXPECT_EQ(got.usage.cached(), 0) << "logits of what is cached are not there";
  }
}

}  // namespace

void ExpectSame(const Workload& workload, const Outcome& expected, const Outcome& got) {
  ASSERT_EQ(expected.heard.size(), workload.requests.size());
  ASSERT_EQ(got.heard.size(), workload.requests.size());
  for (size_t i = 0; i < workload.requests.size(); ++i) {
    const Request& request = workload.requests[i];
    SCOPED_TRACE("request " + std::to_string(i) + " of " + std::to_string(request.prompt.size()) + " tokens");
    ExpectSameAnswer(request, *expected.heard[i], *got.heard[i]);
  }
}

void Coverage::Add(const EngineStats& stats) {
  preemptions += stats.preemptions;
  recomputed += stats.recomputed_tokens;
  evictions += stats.cache.evicted_blocks[0];
  partial_copies += stats.cache.partial_copies;
  hits += stats.prefix_hit_tokens;
  shared += stats.prompt_tokens[static_cast<size_t>(TokenSource::kShared)];
  host += stats.prompt_tokens[static_cast<size_t>(TokenSource::kHost)];
  disk += stats.prompt_tokens[static_cast<size_t>(TokenSource::kDisk)];
}

}  // namespace prefixd::exactness
