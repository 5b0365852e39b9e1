// TiersTest: a cache of blocks of two tokens with lower tiers, whose transfers the test ends by hand. A block
// is named by the tokens of its prefix, itself included. The invariants are checked after every event.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"
#include "tests/cache/held_transfers.h"

namespace prefixd {

struct PrefixCacheTestPeer {
  static auto& Inside(PrefixCache& cache) { return *cache.impl_; }
};

inline bool operator==(const PrefixCache::MissRun& a, const PrefixCache::MissRun& b) {
  return a.reason == b.reason && a.tokens == b.tokens;
}
inline void PrintTo(const PrefixCache::MissRun& run, std::ostream* out) {
  *out << MissReasonName(run.reason) << ":" << run.tokens;
}

using Tokens = std::vector<TokenId>;
using State = PrefixCache::AcquireState;

class TiersTest : public testing::Test {
 protected:
  // The disk tier is empty. There is no wear filter.
  void Make(PrefixCache::Options options) {
    options.write_through = true;
    MakeAsAsked(std::move(options));
  }
  void MakeAsAsked(PrefixCache::Options options) {
    port_.records.clear();
    options.block_tokens = 2;
    if (options.eviction.empty()) options.eviction = "lru";
    cache_ = std::make_unique<PrefixCache>(std::move(options), &copier_, &port_);
  }
  void TearDown() override {
    if (cache_) cache_->CheckInvariants();
  }

  Lease Open(PrefixCache::Reads reads = PrefixCache::Reads::kYes) {
    return cache_->Open(&keys_.emplace_back(kTestRoot, 2), reads);
  }
  // All of `tokens` may be taken, unless there is a limit.
  PrefixCache::Acquired Acquire(Lease& lease, const Tokens& tokens, int limit = -1) {
    const auto acquired = cache_->Acquire(lease, tokens, limit < 0 ? static_cast<int>(tokens.size()) : limit);
    cache_->CheckInvariants();
    return acquired;
  }
  // Computes what the lease, which is ready, does not have of `tokens`.
  void Compute(Lease& lease, const Tokens& tokens) {
    ASSERT_TRUE(cache_->Reserve(lease, static_cast<int>(tokens.size())));
    cache_->CheckInvariants();
    cache_->EndStep(true);
    cache_->Commit(lease, tokens);
    cache_->CheckInvariants();
  }
  // A request from beginning to end, which waits for nothing. Returns what it took, by tier.
  std::array<int, kTiers> Serve(const Tokens& tokens) {
    Lease lease = Open();
    const auto acquired = Acquire(lease, tokens);
    PREFIXD_CHECK(acquired.state == State::kReady) << "a request that waits is not served by this";
    Compute(lease, tokens);
    return acquired.tier_tokens;
  }
  void Poll() {
    cache_->Poll();
    cache_->CheckInvariants();
  }
  // Ends the transfer of a block. A successful transfer from the disk brings the tokens of the block, unless
  // others are given.
  void End(const Tokens& block, TransferResult result = TransferResult::kOk) {
    const auto it = std::ranges::find(port_.held(), KeyOf(block), &HeldTransfers::Held::key);
    const bool record = it != port_.held().end() && it->from == Tier::kDisk && result == TransferResult::kOk;
    End(block, result, record ? Tokens(block.end() - 2, block.end()) : Tokens());
  }
  void End(const Tokens& block, TransferResult result, const Tokens& record) {
    port_.End(KeyOf(block), result, record);
    Poll();
  }
  // Spills all that can be spilled.
  void SpillAll() {
    Poll();
    for (int poll = 0; poll < 100 && cache_->running_transfers() > 0; ++poll) {
      port_.EndAll();
      Poll();
    }
    ASSERT_EQ(cache_->running_transfers(), 0u) << "the spills come to no end";
  }
  // Evicts as many blocks from the device as needed to have `blocks` free.
  void EvictFromDevice(uint32_t blocks) {
    Lease lease = Open();
    ASSERT_TRUE(cache_->Reserve(lease, static_cast<int>(2 * blocks)));
    cache_->CheckInvariants();
  }
  // Puts records on the disk tier, of which the cache is not told.
  void AddRecords(const std::vector<Tokens>& blocks) {
    for (const Tokens& block : blocks) port_.records.insert(KeyOf(block));
  }

  auto& inside() { return PrefixCacheTestPeer::Inside(*cache_); }
  // kNoNode when there is none.
  NodeId Node(const Tokens& block) {
    const auto root = inside().tree.FindRoot(kTestRoot);
    if (!root) return kNoNode;
    RadixTree::Position at = *root;
    const BlockKeys keys = KeysOf(block);
    for (size_t i = 0; i < keys.size(); ++i) {
      at.node = inside().tree.FindChild(at, keys.key(i));
      if (at.node == kNoNode) break;
    }
    return at.node;
  }
  // The tiers in which a block lies, such as "device disk". Of a block that lies nowhere: "ghost", or "no
  // node", or nothing when its node is no ghost.
  std::string Where(const Tokens& block) {
    const NodeId node = Node(block);
    if (node == kNoNode) return port_.OnDisk(KeyOf(block)) ? "disk" : "no node";
    std::string where;
    const auto add = [&](const char* name, bool there) {
      if (there) where += (where.empty() ? "" : " ") + std::string(name);
    };
    add("device", inside().Resides(node, Tier::kDevice));
    add("host", inside().Resides(node, Tier::kHost));
    add("disk", inside().Resides(node, Tier::kDisk));
    add("ghost", where.empty() && inside().tree.IsGhost(node));
    return where;
  }
  const PrefixCacheStats& stats() const { return cache_->stats(); }
  uint64_t loads(TransferResult result) const { return stats().loads[static_cast<size_t>(result)]; }
  uint64_t spills(TransferResult result) const { return stats().spills[static_cast<size_t>(result)]; }

  NoCopies copier_;
  HeldTransfers port_;
  std::deque<BlockKeys> keys_;
  std::unique_ptr<PrefixCache> cache_;
};

}  // namespace prefixd
