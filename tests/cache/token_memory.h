// TokenMemory: a DeviceCopier over blocks that hold marks in place of KV, so that a test can check the
// content of a block table at any moment. Like KV, a mark depends on its token, on all tokens before it and
// on the namespace. One thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "cache/prefix_cache.h"
#include "cache/transfer_port.h"

namespace prefixd {

class TokenMemory final : public DeviceCopier {
 public:
  struct Mark {
    uint64_t prefix = 0;  // a hash of the namespace and all tokens so far
    int64_t token = -1;   // -1: never computed; wider than a TokenId, so that no byte is undefined
    friend bool operator==(const Mark&, const Mark&) = default;
  };

  TokenMemory(int block_tokens, uint32_t blocks)
      : block_tokens_(static_cast<size_t>(block_tokens)), content_(block_tokens_ * blocks) {}

  void CopyBlock(BlockId from, BlockId to) override {
    last_source_.emplace();
    for (const Mark& mark : content(from)) last_source_->push_back(static_cast<TokenId>(mark.token));
    std::ranges::copy(content(from), content(to).begin());
  }
  // The tokens in the source of the last copy; nothing when there was no copy since the last call.
  std::optional<std::vector<TokenId>> TakeLastSource() { return std::exchange(last_source_, std::nullopt); }

  std::span<Mark> content(BlockId block) {
    return std::span(content_).subspan(block * block_tokens_, block_tokens_);
  }
  // The bytes of a block, as the owner of a lower tier reads and writes them.
  std::span<std::byte> bytes(BlockId block) { return std::as_writable_bytes(content(block)); }

  // The marks of a sequence in the namespace with the number `root`.
  static std::vector<Mark> Marks(std::span<const TokenId> tokens, TokenId root = 0) {
    std::vector<Mark> marks;
    uint64_t prefix = SplitMix64(static_cast<uint64_t>(root));
    for (const TokenId token : tokens) {
      prefix = SplitMix64(prefix ^ static_cast<uint64_t>(token + 1));
      marks.push_back({prefix, token});
    }
    return marks;
  }
  // Computes tokens[lease.ready(), until), as the engine does between Reserve and Commit.
  void Compute(const Lease& lease, std::span<const TokenId> tokens, int until, TokenId root = 0) {
    const std::vector<Mark> marks = Marks(tokens, root);
    for (size_t i = static_cast<size_t>(lease.ready()); i < static_cast<size_t>(until); ++i) {
      content_[lease.blocks()[i / block_tokens_] * block_tokens_ + i % block_tokens_] = marks[i];
    }
  }
  // Expects that the lease's blocks hold the marks of its first ready() tokens.
  void ExpectHolds(const Lease& lease, std::span<const TokenId> tokens, TokenId root = 0) const {
    const std::vector<Mark> marks = Marks(tokens, root);
    ASSERT_LE(static_cast<size_t>(lease.ready()), lease.blocks().size() * block_tokens_);
    for (size_t i = 0; i < static_cast<size_t>(lease.ready()); ++i) {
      ASSERT_TRUE(content_[lease.blocks()[i / block_tokens_] * block_tokens_ + i % block_tokens_] == marks[i])
          << "token " << i << " of a lease with " << lease.ready();
    }
  }

 private:
  const size_t block_tokens_;
  std::vector<Mark> content_;
  std::optional<std::vector<TokenId>> last_source_;
};

}  // namespace prefixd
