// TokenMemory: a BlockMover over blocks that hold token ids in place of KV, so that a test can check the
// content of a block table at any moment. The test decides when a copy finishes and whether it fails. One
// thread.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <span>
#include <vector>

#include "cache/block_mover.h"
#include "cache/prefix_cache.h"

namespace prefixd {

inline constexpr TokenId kGarbage = -1;

class TokenMemory final : public BlockMover {
 public:
  TokenMemory(int block_tokens, uint32_t blocks)
      : block_tokens_(static_cast<size_t>(block_tokens)), content_(block_tokens_ * blocks, kGarbage) {}

  void Start(const BlockCopy& copy) override { running_.push_back(copy); }
  void Poll(std::vector<FinishedCopy>* finished) override {
    finished->insert(finished->end(), finished_.begin(), finished_.end());
    finished_.clear();
  }

  std::span<const TokenId> content(BlockId block) const {
    return std::span(content_).subspan(block * block_tokens_, block_tokens_);
  }
  const BlockCopy& copy(size_t index) const { return running_.at(index); }
  size_t running() const { return running_.size(); }
  // Finishes the running copy number `index`. A failed copy fills its target with garbage.
  void Finish(size_t index, bool ok) {
    const BlockCopy copy = running_.at(index);
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(index));
    for (size_t i = 0; i < block_tokens_; ++i) {
      content_[copy.to * block_tokens_ + i] = ok ? content_[copy.from * block_tokens_ + i] : kGarbage;
    }
    finished_.push_back({copy.tag, ok});
  }
  void FinishAll(bool ok = true) {
    while (running() > 0) Finish(0, ok);
  }

  // Computes tokens[lease.ready(), until), as the engine does between Reserve and Commit.
  void Compute(const Lease& lease, std::span<const TokenId> tokens, int until) {
    for (size_t i = static_cast<size_t>(lease.ready()); i < static_cast<size_t>(until); ++i) {
      content_[lease.blocks()[i / block_tokens_] * block_tokens_ + i % block_tokens_] = tokens[i];
    }
  }
  // Expects that the lease's blocks hold its first ready() tokens.
  void ExpectHolds(const Lease& lease, std::span<const TokenId> tokens) const {
    ASSERT_LE(static_cast<size_t>(lease.ready()), lease.blocks().size() * block_tokens_);
    for (size_t i = 0; i < static_cast<size_t>(lease.ready()); ++i) {
      ASSERT_EQ(content_[lease.blocks()[i / block_tokens_] * block_tokens_ + i % block_tokens_], tokens[i])
          << "token " << i << " of a lease with " << lease.ready();
    }
  }

 private:
  const size_t block_tokens_;
  std::vector<TokenId> content_;
  std::deque<BlockCopy> running_;
  std::vector<FinishedCopy> finished_;
};

}  // namespace prefixd
