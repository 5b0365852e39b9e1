// bench/replay: parsing of traces, and the hit counts of the cache against a plain model of LRU.
#include "bench/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "base/prng.h"
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
    EXPECT_EQ(Replay(*trace, capacity).hit_blocks, hits) << capacity;
    EXPECT_EQ(ModelHits(*trace, capacity), hits) << capacity;
  }
}

TEST(Replay, ARepeatedRequestHitsAllOfItsBlocks) {
  const auto trace = Parse("{\"hash_ids\": [1, 2, 3]}\n{\"hash_ids\": [1, 2, 3]}\n");
  EXPECT_EQ(Replay(*trace, 3).hit_blocks, 3u);
}

TEST(Replay, EqualIdsBehindOtherPrefixesAreOtherBlocks) {
  const auto trace = Parse("{\"hash_ids\": [1, 2]}\n{\"hash_ids\": [3, 2]}\n{\"hash_ids\": [2]}\n");
  EXPECT_EQ(Replay(*trace, 10).hit_blocks, 0u);
}

TEST(Replay, EqualsAPlainModelOfLruOnRandomTraces) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Prng random(seed);
    Trace trace;
    for (int i = 0; i < 60; ++i) {
      Path request;
      for (uint64_t blocks = random.Below(8) + 1; blocks > 0; --blocks) {
        request.push_back(static_cast<TokenId>(random.Below(3)));
      }
      trace.longest_request = std::max(trace.longest_request, request.size());
      trace.blocks += request.size();
      trace.requests.push_back(request);
    }
    for (const uint32_t capacity : {8u, 20u, 60u}) {
      const ReplayResult result = Replay(trace, capacity);
      EXPECT_EQ(result.hit_blocks, ModelHits(trace, capacity))
          << "seed " << seed << ", capacity " << capacity;
      EXPECT_EQ(result.requested_blocks, trace.blocks);
    }
  }
}

TEST(Replay, ConversationTraceHasThePublishedHitShares) {
  PREFIXD_NEED_SHARED("traces/conversation_trace.jsonl");
  const auto trace = ReadTrace(testing_support::SharedDir() / "traces/conversation_trace.jsonl");
  ASSERT_TRUE(trace.ok()) << trace.status().ToString();
  for (const auto& [capacity, share] :
       std::map<uint32_t, double>{{1000, .0445}, {3000, .0653}, {10000, .2116}, {30000, .3257}}) {
    EXPECT_EQ(std::round(Replay(*trace, capacity).HitShare() * 1e4) / 1e4, share) << capacity;
  }
}

}  // namespace
}  // namespace prefixd::bench
