// bench/replay: parsing of traces, hit counts against plain models of LRU and of the optimum, and the figures
// of the policies on the conversation trace.
#include "bench/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "base/prng.h"
#include "bench/replay_optimal.h"
#include "cache/eviction.h"
#include "cache/prefix_cache.h"
#include "tests/cache/policy_harness.h"
#include "tests/support/shared_data.h"

namespace prefixd::bench {
namespace {

using ::testing::HasSubstr;
using Path = std::vector<TokenId>;

Result<Trace> Parse(const std::string& text) {
  std::istringstream in(text);
  return ParseTrace(in);
}

// Leaf-first LRU over whole paths: every block is the path that leads to it; of equally old leaves the deeper
// goes first.
uint64_t ModelHits(const Trace& trace, size_t capacity) {
  std::map<Path, size_t> last_used;  // by cached block
  uint64_t hits = 0;
  const auto evict = [&](const Path& running) {
    const Path* victim = nullptr;
    for (auto it = last_used.begin(); it != last_used.end(); ++it) {
      const Path& block = it->first;
      const auto next = std::next(it);  // a child, if there is one, follows its parent in this order
      const bool leaf = next == last_used.end() || next->first.size() <= block.size() ||
                        !std::equal(block.begin(), block.end(), next->first.begin());
      const bool leased =
          block.size() <= running.size() && std::equal(block.begin(), block.end(), running.begin());
      if (!leaf || leased) continue;
      if (victim == nullptr || it->second < last_used.at(*victim) ||
          (it->second == last_used.at(*victim) && block.size() > victim->size())) {
        victim = &block;
      }
    }
    ASSERT_NE(victim, nullptr);
    last_used.erase(Path(*victim));
  };
  for (size_t now = 0; now < trace.requests.size(); ++now) {
    const Path& request = trace.requests[now];
    bool all_before_hit = true;
    for (size_t length = 1; length <= request.size(); ++length) {
      const Path block(request.begin(), request.begin() + static_cast<std::ptrdiff_t>(length));
      all_before_hit = all_before_hit && last_used.contains(block);
      if (all_before_hit) {
        ++hits;
      } else {
        if (last_used.size() == capacity) evict(request);
      }
      last_used[block] = now;
    }
  }
  return hits;
}

TEST(ParseTrace, KeepsTheOrderAndRenumbersIds) {
  const auto trace =
      Parse("{\"hash_ids\": [18446744073709551615, 5]}\n\n{\"x\": 1, \"hash_ids\": [5, 7]}\r\n");
  ASSERT_TRUE(trace.ok()) << trace.status().ToString();
  EXPECT_EQ(trace->requests, (std::vector<Path>{{0, 1}, {1, 2}}));
  EXPECT_EQ(trace->blocks, 4u);
  EXPECT_EQ(trace->longest_request, 2u);
}

TEST(ParseTrace, NamesTheLineOfAnError) {
  const std::string good = "{\"hash_ids\": [1]}\n";
  const std::pair<const char*, const char*> cases[] = {
      {"{\"hash_ids\": [1", "not JSON"},
      {"[1]", "a JSON object is expected"},
      {"{\"ids\": [1]}", "the array \"hash_ids\" is missing"},
      {"{\"hash_ids\": [-1]}", "has -1"},
      {"{\"hash_ids\": [1.5]}", "whole numbers"},
      {"{\"hash_ids\": [\"a\"]}", "has \"a\""}};
  for (const auto& [line, message] : cases) {
    const auto trace = Parse(good + line + "\n" + good);
    ASSERT_FALSE(trace.ok()) << line;
    EXPECT_THAT(trace.status().message(), HasSubstr("line 2: ")) << line;
    EXPECT_THAT(trace.status().message(), HasSubstr(message)) << line;
  }
  EXPECT_FALSE(Parse("").ok());
}

TEST(ReadTrace, NamesAPathThatCannotBeRead) {
  EXPECT_THAT(ReadTrace("no/such/trace.jsonl").status().message(),
              HasSubstr("no/such/trace.jsonl: No such file"));
  EXPECT_THAT(ReadTrace(".").status().message(), HasSubstr("is a folder"));
}

TEST(Replay, SmallTraceHasKnownHits) {
  const auto trace = ReadTrace(testing_support::SourceDir() / "tests/bench/small_trace.jsonl");
  ASSERT_TRUE(trace.ok()) << trace.status().ToString();
  EXPECT_EQ(trace->blocks, 41u);
  for (const auto& [capacity, hits] : std::map<uint32_t, uint64_t>{{6, 11}, {8, 14}, {12, 20}, {100, 25}}) {
    EXPECT_EQ(Replay(*trace, capacity, "lru").hit_blocks, hits) << capacity;
    EXPECT_EQ(ModelHits(*trace, capacity), hits) << capacity;
  }
}

TEST(Replay, ARepeatedRequestHitsAllOfItsBlocks) {
  const auto trace = Parse("{\"hash_ids\": [1, 2, 3]}\n{\"hash_ids\": [1, 2, 3]}\n");
  for (const std::string_view policy : EvictionPolicyNames()) {
    EXPECT_EQ(Replay(*trace, 3, policy).hit_blocks, 3u) << policy;
  }
  EXPECT_EQ(ReplayOptimal(*trace, 3).hit_blocks, 3u);
}

TEST(Replay, EqualIdsBehindOtherPrefixesAreOtherBlocks) {
  const auto trace = Parse("{\"hash_ids\": [1, 2]}\n{\"hash_ids\": [3, 2]}\n{\"hash_ids\": [2]}\n");
  for (const std::string_view policy : EvictionPolicyNames()) {
    EXPECT_EQ(Replay(*trace, 10, policy).hit_blocks, 0u) << policy;
  }
  EXPECT_EQ(ReplayOptimal(*trace, 10).hit_blocks, 0u);
}

Trace RandomTrace(uint64_t seed, int requests, uint64_t length, uint64_t tokens) {
  Prng random(seed);
  Trace trace;
  for (int i = 0; i < requests; ++i) {
    Path request;
    for (uint64_t blocks = random.Below(length) + 1; blocks > 0; --blocks) {
      request.push_back(static_cast<TokenId>(random.Below(tokens)));
    }
    trace.longest_request = std::max(trace.longest_request, request.size());
    trace.blocks += request.size();
    trace.requests.push_back(request);
  }
  return trace;
}

TEST(Replay, EqualsAPlainModelOfLruOnRandomTraces) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    const Trace trace = RandomTrace(seed, 60, 8, 3);
    for (const uint32_t capacity : {8u, 20u, 60u}) {
      const ReplayResult result = Replay(trace, capacity, "lru");
      EXPECT_EQ(result.hit_blocks, ModelHits(trace, capacity))
          << "seed " << seed << ", capacity " << capacity;
      EXPECT_EQ(result.requested_blocks, trace.blocks);
    }
  }
}

// So the cache calls its policy as the harness does, which follows cache/eviction.h.
TEST(Replay, EqualsThePolicyHarness) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const Trace trace = RandomTrace(seed, 1000, 8, 4);
    for (const std::string_view name : EvictionPolicyNames()) {
      for (const uint32_t capacity : {8u, 50u, 150u}) {
        const auto policy = MakeEvictionPolicy(name, {.capacity = capacity});
        PolicyHarness harness(policy.get(), capacity, kGhostsPerBlock * capacity);
        uint64_t hits = 0;
        for (const Path& request : trace.requests) {
          const auto lease = harness.Open(request);
          hits += lease->hits;
          harness.Close(*lease);
        }
        const ReplayResult result = Replay(trace, capacity, name);
        EXPECT_EQ(result.hit_blocks, hits) << name << ", seed " << seed << ", capacity " << capacity;
        EXPECT_EQ(result.evicted_blocks, harness.evicted()) << name << ", seed " << seed;
      }
    }
  }
}

// The most hits of the requests from `now` on, by trying every set of leaves to evict.
uint64_t BestHits(const Trace& trace, size_t now, const std::set<Path>& cached, size_t capacity,
                  std::map<std::pair<size_t, std::set<Path>>, uint64_t>* known) {
  if (now == trace.requests.size()) return 0;
  const auto [best, is_new] = known->try_emplace({now, cached}, 0);
  if (!is_new) return best->second;
  const Path& request = trace.requests[now];
  uint64_t hits = 0;
  std::set<Path> with_request = cached;
  for (size_t length = 1; length <= request.size(); ++length) {
    const Path block(request.begin(), request.begin() + static_cast<std::ptrdiff_t>(length));
    hits += cached.contains(block);
    with_request.insert(block);
  }
  const auto starts = [](const Path& path, const Path& prefix) {
    return path.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), path.begin());
  };
  std::set<std::set<Path>> states = {with_request};
  for (size_t size = with_request.size(); size > capacity; --size) {
    std::set<std::set<Path>> smaller;
    for (const std::set<Path>& state : states) {
      for (const Path& block : state) {
        const bool leaf = std::ranges::count_if(state, [&](const Path& b) { return starts(b, block); }) == 1;
        if (!leaf || starts(request, block)) continue;
        std::set<Path> rest = state;
        rest.erase(block);
        smaller.insert(rest);
      }
    }
    states = smaller;
  }
  uint64_t rest = 0;
  for (const auto& state : states) rest = std::max(rest, BestHits(trace, now + 1, state, capacity, known));
  (*known)[{now, cached}] = hits + rest;
  return hits + rest;
}

TEST(ReplayOptimal, FindsTheMostThatAnyEvictionCan) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Trace trace = RandomTrace(seed, 12, 3, 3);
    for (const size_t capacity : {3u, 5u}) {
      std::map<std::pair<size_t, std::set<Path>>, uint64_t> known;
      EXPECT_EQ(ReplayOptimal(trace, static_cast<uint32_t>(capacity)).hit_blocks,
                BestHits(trace, 0, {}, capacity, &known))
          << "seed " << seed << ", capacity " << capacity;
    }
  }
}

TEST(ReplayOptimal, IsABoundForEveryPolicy) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const Trace trace = RandomTrace(seed, 300, 8, 3);
    for (const uint32_t capacity : {8u, 20u, 60u}) {
      const ReplayResult optimum = ReplayOptimal(trace, capacity);
      EXPECT_EQ(optimum.requested_blocks, trace.blocks);
      for (const std::string_view policy : EvictionPolicyNames()) {
        EXPECT_LE(Replay(trace, capacity, policy).hit_blocks, optimum.hit_blocks)
            << policy << ", seed " << seed << ", capacity " << capacity;
      }
    }
  }
}

double Rounded(double value, int digits) {
  return std::round(value * std::pow(10, digits)) / std::pow(10, digits);
}

TEST(Replay, ConversationTraceHasThePublishedHitShares) {
  PREFIXD_NEED_SHARED("traces/conversation_trace.jsonl");
  const auto trace = ReadTrace(testing_support::SharedDir() / "traces/conversation_trace.jsonl");
  ASSERT_TRUE(trace.ok()) << trace.status().ToString();
  struct Published {
    uint32_t capacity;
    double lru, two_queue, optimum;
  };
  for (const auto& [capacity, lru, two_queue, optimum] :
       {Published{1000, .0445, .075, .179}, Published{3000, .0653, .123, .292},
        Published{10000, .2116, .220, .366}, Published{30000, .3257, .323, .366}}) {
    SCOPED_TRACE(capacity);
    const ReplayResult lru_result = Replay(*trace, capacity, "lru");
    EXPECT_EQ(Rounded(lru_result.HitShare(), 4), lru);
    EXPECT_EQ(Rounded(ReplayOptimal(*trace, capacity).HitShare(), 3), optimum);
    // The published 2Q may differ in details that its figures do not tell.
    const ReplayResult two_queue_result = Replay(*trace, capacity, "2q");
    EXPECT_NEAR(two_queue_result.HitShare(), two_queue, .0015);
    EXPECT_GE(Replay(*trace, capacity, kDefaultEviction).hit_blocks,
              std::max(lru_result.hit_blocks, two_queue_result.hit_blocks));
  }
}

}  // namespace
}  // namespace prefixd::bench
