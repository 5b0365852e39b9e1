// BlockKeys: the keys and prefix checks of the full blocks of one growing sequence of tokens. Each is
// computed once and kept, however often the sequence is looked up, queued or preempted. One owner at a time;
// any thread.
//
// Invariant: key i and check i are those of the tokens [i, i + 1) * block_tokens after key and check i - 1,
// or after the root.
#pragma once

#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/types.h"
#include "hashing/block_key.h"

namespace prefixd {

using KeyFunction = std::function<BlockKey(const BlockKey& parent, std::span<const TokenId> tokens)>;

class BlockKeys {
 public:
  // `block_tokens` > 0. Tests pass another key function to cause collisions.
  BlockKeys(const BlockKey& root, int block_tokens, KeyFunction key = ChildKey)
      : root_(root),
        root_check_(RootCheck(root)),
        block_tokens_(static_cast<size_t>(block_tokens)),
        key_(std::move(key)) {
    PREFIXD_CHECK(block_tokens > 0 && key_ != nullptr) << block_tokens;
  }

  // Adds the full blocks of `tokens` that are not known yet. Requires that the tokens of all calls are
  // prefixes of one sequence.
  void Extend(std::span<const TokenId> tokens) {
    while ((size() + 1) * block_tokens_ <= tokens.size()) {
      const auto block = tokens.subspan(size() * block_tokens_, block_tokens_);
      checks_.push_back(ChildCheck(checks_.empty() ? root_check_ : checks_.back(), block));
      keys_.push_back(key_(keys_.empty() ? root_ : keys_.back(), block));
    }
  }

  const BlockKey& root() const { return root_; }
  // The number of full blocks that are known.
  size_t size() const { return keys_.size(); }
  const BlockKey& key(size_t block) const { return keys_[block]; }
  std::span<const BlockKey> keys() const { return keys_; }
  uint64_t check(size_t block) const { return checks_[block]; }

 private:
  BlockKey root_;
  uint64_t root_check_;
  size_t block_tokens_;
  KeyFunction key_;
  std::vector<BlockKey> keys_;
  std::vector<uint64_t> checks_;
};

}  // namespace prefixd
