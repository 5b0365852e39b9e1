// World: a scheduler with a cache, and a memory of tokens in place of KV and a model. For the tests of the
// scheduler. One thread.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "engine/scheduler.h"

namespace prefixd {

// Stands for KV memory: what a block holds is the token that was computed into each of its places.
class TokenMemory final : public DeviceCopier {
 public:
  TokenMemory(uint32_t blocks, int block_tokens)
      : block_tokens_(block_tokens), held_(blocks * block_tokens, -1) {}
  void CopyBlock(BlockId from, BlockId to) override {
    for (int i = 0; i < block_tokens_; ++i) At(to, i) = At(from, i);
  }
  TokenId& At(BlockId block, int place) { return held_[block * block_tokens_ + place]; }

 private:
  const int block_tokens_;
  std::vector<TokenId> held_;
};

class NoListener final : public RequestListener {
 public:
  void OnEvent(RequestEvent) override {}
};

inline std::vector<TokenId> Tokens(int count, TokenId first) {
  std::vector<TokenId> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = first + i;
  return tokens;
}

// The scheduler with a cache, a memory of tokens, and a "model" whose next token is a function of all earlier
// tokens.
class World {
 public:
  World(uint32_t blocks, int block_tokens, SchedulerLimits limits, bool reuse = true)
      : block_tokens_(block_tokens),
        limits_(limits),
        memory_(blocks, block_tokens),
        cache_(Options(blocks, block_tokens, reuse), &memory_),
        scheduler_(limits, &cache_) {}

  RequestId Add(std::vector<TokenId> prompt, int max_tokens, bool scored = false, bool read_cache = true,
                TenantShare share = {}) {
    Request request;
    request.prompt = std::move(prompt);
    request.sampling.prompt_logprobs = scored ? 0 : -1;
    request.read_cache = read_cache;
    request.share = std::move(share);
    request.sampling.max_tokens = max_tokens;
    request.listener = std::make_shared<NoListener>();
    scheduler_.Enqueue(
        std::make_unique<Sequence>(++last_id_, std::move(request), BlockKeys(BlockKey{1, 2}, block_tokens_)));
    return last_id_;
  }

  // One step; the number of rows computed.
  int Step() {
    budget_.SetShared(scheduler_.shared(now_));
    const auto plan = scheduler_.Plan(budget_, [&](Sequence& sequence) { admitted_.insert(sequence.id); });
    int rows = 0, prompt_logits = 0;
    std::set<const Sequence*> once;
    StepWork work;
    chunks_.clear();
    for (const PlannedChunk& chunk : plan) {
      const bool decodes = chunk.sequence->decoding();
      (decodes ? work.decodes : work.prompts) += budget_.cost().Of(chunk.sequence->ready(), chunk.tokens);
      chunks_[chunk.sequence->id] = chunk.tokens;
      EXPECT_TRUE(once.insert(chunk.sequence).second) << "one chunk per sequence";
      EXPECT_GT(chunk.tokens, 0);
      EXPECT_EQ(chunk.completes, chunk.tokens == chunk.sequence->pending());
      rows += chunk.tokens;
      prompt_logits += chunk.prompt_logits();
    }
    EXPECT_LE(rows, limits_.step_tokens);
    EXPECT_LE(prompt_logits, limits_.prompt_logit_rows);
    ExpectWithinBudget(plan, work);
    const double seconds = step_seconds_();
    now_ += seconds;
    budget_.Observe(work, seconds);
    cache_.EndStep(true);
    for (const PlannedChunk& chunk : plan) Compute(chunk);
    scheduler_.CheckInvariants();
    cache_.CheckInvariants();
    if (!scheduler_.running().empty()) idle_steps_ = rows == 0 ? idle_steps_ + 1 : 0;
    EXPECT_EQ(idle_steps_, 0) << "something runs and nothing is computed";
    return rows;
  }

  void RunToEnd(int max_steps) {
    for (int i = 0; i < max_steps; ++i) {
      if (scheduler_.running().empty() && scheduler_.queued().empty()) break;
      Step();
      if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_TRUE(scheduler_.running().empty() && scheduler_.queued().empty())
        << "not finished in " << max_steps << " steps";
    EXPECT_EQ(cache_.leased_blocks(), 0u);
    EXPECT_EQ(cache_.free_blocks() + cache_.cached_blocks(), cache_.capacity());
  }

  int block_tokens_;
  SchedulerLimits limits_;
  TokenMemory memory_;
  PrefixCache cache_;
  Scheduler scheduler_;
  StepBudget budget_;
  std::function<double()> step_seconds_ = [] { return 0.0; };  // how long the next step takes
  double now_ = 0;                                             // seconds
  std::map<RequestId, int> chunks_;                            // tokens of each sequence in the last step
  RequestId last_id_ = 0;
  std::set<RequestId> admitted_;
  std::map<RequestId, std::vector<TokenId>> outputs_;
  std::map<RequestId, PromptUsage> usages_;
  std::map<RequestId, std::array<uint64_t, kMissReasons>> misses_;
  std::map<RequestId, std::vector<TokenId>> scored_;
  uint64_t computed_rows_ = 0;

 private:
  static PrefixCache::Options Options(uint32_t blocks, int block_tokens, bool reuse) {
    PrefixCache::Options options;
    options.blocks = blocks;
    options.block_tokens = block_tokens;
    options.reuse = reuse;
    return options;
  }

  // The units of prompts fit the budget, except that the last chunk has a token at least.
  void ExpectWithinBudget(const std::vector<PlannedChunk>& plan, const StepWork& work) {
    const auto tenant = [](const PlannedChunk& chunk) { return chunk.sequence->request.share.tenant; };
    const bool of_one = std::ranges::all_of(plan, [&](auto& c) { return tenant(c) == tenant(plan[0]); });
    const double units = budget_.PromptUnits(work.decodes, /*own=*/of_one && scheduler_.shared(now_));
    double before_last = 0;
    for (const PlannedChunk& chunk : plan) {
      const int tokens = &chunk == &plan.back() ? chunk.tokens - 1 : chunk.tokens;
      if (!chunk.sequence->decoding()) before_last += budget_.cost().Of(chunk.sequence->ready(), tokens);
    }
    EXPECT_LE(before_last, units * 1.000001);
  }

  void Compute(const PlannedChunk& chunk) {
    Sequence& s = *chunk.sequence;
    const int from = s.ready(), to = from + chunk.tokens;
    ASSERT_GE(static_cast<int>(s.lease.blocks().size()) * block_tokens_, to) << "blocks are reserved";
    for (int i = 0; i < from; ++i) {
      ASSERT_EQ(memory_.At(s.lease.blocks()[i / block_tokens_], i % block_tokens_), s.tokens[i])
          << "sequence " << s.id << " would read another's KV at " << i;
    }
    for (int i = from; i < to; ++i)
      memory_.At(s.lease.blocks()[i / block_tokens_], i % block_tokens_) = s.tokens[i];
    computed_rows_ += chunk.tokens;
    for (int i = 0; i < chunk.prompt_logits(); ++i) {
      EXPECT_GE(s.high_water + i, from) << "the row is in the chunk";
      scored_[s.id].push_back(s.tokens[static_cast<size_t>(s.high_water + i + 1)]);
    }
    scheduler_.Commit(chunk);
    if (!chunk.completes) return;
    if (s.generated() == 0) {
      if (s.request.sampling.prompt_logprobs >= 0) {
        EXPECT_EQ(scored_[s.id], std::vector<TokenId>(s.tokens.begin() + 1, s.tokens.end()))
            << "each prompt token but the first, once, in order, before the first that is generated";
      }
      usages_[s.id] = s.usage;
      misses_[s.id] = s.miss_tokens;
      EXPECT_EQ(s.usage.total(), s.prompt_tokens);
      EXPECT_LE(s.usage.cached() + s.usage.written, s.prompt_tokens) << "written, but taken from the cache";
    }
    uint64_t hash = 17;
    for (const TokenId token : s.tokens) hash = SplitMix64(hash ^ token);
    s.tokens.push_back(static_cast<TokenId>(hash % 50));
    if (s.generated() >= s.request.sampling.max_tokens) {
      auto done = scheduler_.Remove(s.id);
      outputs_[done->id] = {done->tokens.begin() + done->prompt_tokens, done->tokens.end()};
    }
  }

  int idle_steps_ = 0;
};

// A shape in which a token at position 28 costs twice as much as one at position 0.
inline ModelShape ShapeWithCostlyAttention(std::vector<int> windows) {
  ModelShape shape;
  shape.layers = static_cast<int>(windows.size());
  shape.hidden = 8;
  shape.intermediate = 4;
  shape.heads = 1;
  shape.kv_heads = 1;
  shape.head_dim = 4;
  shape.windows = std::move(windows);
  return shape;
}

}  // namespace prefixd
