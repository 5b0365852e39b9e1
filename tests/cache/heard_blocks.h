// HeardBlocks: a listener of residency that counts the blocks of each pool tier as it hears of them, and
// compares them with what a report says. Blocks of equal keys are counted together.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "cache/prefix_cache.h"

namespace prefixd {

class HeardBlocks final : public ResidencyListener {
 public:
  void OnStored(const Block& block, Tier tier) override {
    EXPECT_FALSE(block.tokens.empty());
    if (tier != Tier::kDisk) ++(reports_ ? reported_ : heard_)[{tier, block.key}];
  }
  void OnRemoved(const BlockKey&, const BlockKey& key, Tier tier) override {
    if (tier == Tier::kDisk) return;  // the store has dropped it before, or the cache has found that out
    const auto it = heard_.find({tier, key});
    ASSERT_NE(it, heard_.end()) << "was never stored";
    if (--it->second == 0) heard_.erase(it);
  }
  void OnDropped(const BlockKey&) override {}
  void OnLost() override {}
  uint64_t WantedReport() const override { return 0; }
  void OnReported(uint64_t) override {}

  // Has the whole cache reported, a few nodes at a time.
  void ExpectReported(const PrefixCache& cache) {
    reports_ = true;
    reported_.clear();
    NodeId next = 0;
    while (!cache.Report(&next, 3)) {
    }
    reports_ = false;
    EXPECT_EQ(heard_, reported_);
  }

 private:
  std::map<std::pair<Tier, BlockKey>, int> heard_, reported_;
  bool reports_ = false;
};

}  // namespace prefixd
