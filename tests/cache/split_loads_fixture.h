// SplitLoadsTest: leases over a hit on the disk, with an estimate of computing and a clock, one event at a
// time. One thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/cache/tiers_fixture.h"

namespace prefixd {

// A step takes no time at first. That a block takes 4 ms makes five blocks the longest short wait of
// LoadPlanner.
class BlockEstimate final : public ComputeEstimate {
 public:
  double Seconds(int from, int to) const override { return block * (to - from) / 2; }
  double StepSeconds() const override { return step; }

  double block = 0.004;  // seconds for two tokens
  double step = 0;
};

class SplitLoadsTest : public TiersTest {
 protected:
  // A disk with the records of the first `records` blocks of the prompt. To load one takes `ratio` times as
  // long as to compute it. Loads that the test ends are reported as refused, so the estimate stays, unless it
  // says when they ended.
  void MakeDisk(size_t records, double ratio, PrefixCache::Options options = {.blocks = 40}) {
    options.disk = true;
    options.block_seconds = {0, 0, ratio * estimate_.block};
    Make(std::move(options));
    for (size_t i = 0; i < records; ++i) AddRecords({Block(i)});
  }
  // The prompt up to the end of the block with this number.
  static Tokens Block(size_t index) {
    Tokens tokens;
    for (size_t i = 0; i < 2 * (index + 1); ++i) tokens.push_back(static_cast<TokenId>(1 + i / 2));
    return tokens;
  }
  static Tokens Prompt(size_t blocks) { return Block(blocks - 1); }

  PrefixCache::Acquired Acquire(Lease& lease, const Tokens& tokens, int limit = -1) {
    const int all = static_cast<int>(tokens.size());
    const auto acquired = cache_->Acquire(lease, tokens, limit < 0 ? all : limit, &estimate_);
    cache_->CheckInvariants();
    return acquired;
  }
  void Poll(double now) {
    now_ = now;
    cache_->Poll(now);
    cache_->CheckInvariants();
  }
  // Ends the load of a block.
  void EndLoad(size_t index, TransferResult result = TransferResult::kOk) {
    const TokenId token = static_cast<TokenId>(1 + index);
    port_.End(KeyOf(Block(index)), result, result == TransferResult::kOk ? Tokens{token, token} : Tokens{});
    Poll(now_);
  }
  // The load took from the last Poll until `now`.
  void EndLoadAt(size_t index, double now) {
    const auto it = std::ranges::find(port_.held(), KeyOf(Block(index)), &HeldTransfers::Held::key);
    ASSERT_NE(it, port_.held().end());
    const uint64_t id = it->id;
    Forget(index);
    const TokenId token = static_cast<TokenId>(1 + index);
    port_.Report({.id = id, .tokens = {token, token}, .bytes = 1, .ended = now});
    Poll(now);
  }
  void EndLoads(size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) EndLoad(i);
  }
  // The blocks that are being loaded, in the order in which the loads were started.
  std::vector<size_t> Loading() const {
    std::vector<size_t> blocks;
    for (const auto& held : port_.held()) {
      if (held.to != Tier::kDevice) continue;
      for (size_t i = 0; i < 40; ++i) {
        if (KeyOf(Block(i)) == held.key) blocks.push_back(i);
      }
    }
    return blocks;
  }
  uint64_t decisions(LoadDecision decision) const {
    return stats().load_decisions[static_cast<size_t>(Tier::kDisk)][static_cast<size_t>(decision)];
  }
  // A request from beginning to end.
  void ServeWithLoads(const Tokens& tokens) {
    Lease lease = Open();
    for (int turn = 0; turn < 100 && lease.ready() < static_cast<int>(tokens.size()); ++turn) {
      const auto acquired = Acquire(lease, tokens);
      if (acquired.state == State::kReady) {
        Compute(lease, Tokens(tokens.begin(), tokens.begin() + acquired.until));
      } else {
        EndLoad(Loading().front());
      }
    }
    EXPECT_EQ(lease.ready(), static_cast<int>(tokens.size()));
  }
  void ExpectNothingLeased() {
    while (!Loading().empty()) EndLoad(Loading().front());
    EXPECT_EQ(cache_->leased_blocks(), 0u);
    EXPECT_EQ(inside().claims.size(), 0u);
    EXPECT_TRUE(inside().leases.empty());
  }

  BlockEstimate estimate_;
  double now_ = 0;

 private:
  void Forget(size_t index) { port_.Take(KeyOf(Block(index))); }
};

}  // namespace prefixd
