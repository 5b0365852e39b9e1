// TokenMemory: a BlockMover over blocks whose "KV" is the token ids it was computed from, so that a test can
// tell at any moment whether a block table holds what it should. Copies finish when the test says so, and
// fail when it says so.
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
  // Ends the copy with number `index` of those that run. A failed one leaves garbage behind.
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

  // What the engine does between Reserve and Commit: computes tokens[lease.ready(), until).
  void Compute(const Lease& lease, std::span<const TokenId> tokens, int until) {
    for (size_t i = static_cast<size_t>(lease.ready()); i < static_cast<size_t>(until); ++i) {
      content_[lease.blocks()[i / block_tokens_] * block_tokens_ + i % block_tokens_] = tokens[i];
    }
  }
  // The promise of a lease: its first ready() tokens have the KV of `tokens`.
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
