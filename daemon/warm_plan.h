// WarmPlan: the chains of blocks that a warm start loads, made of the heads of their records. It proves each
// block by what its record says of itself: key, parent, root and token ids are those of one chain down to
// the root, so a load finds the block that a request would look for. That the KV is whole, the load proves.
//
// Plain object; one thread at a time. Add accepts any bytes.
//
// Invariants
//   1. The blocks of a chain follow each other from the root on. Every block is on some chain.
//   2. It holds no chain but the one that Next returns, so it grows with its blocks alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "hashing/block_key.h"

namespace prefixd {

class WarmPlan {
 public:
  struct Options {
    BlockKey fingerprint;  // of the model
    int block_tokens = 16;
    int vocab = 0;
    size_t most_depth = 0;  // blocks of the longest chain that a request can have
  };
  explicit WarmPlan(const Options& options) : options_(options) {}

  // So many bytes of a record are its head.
  static size_t HeadBytes(int block_tokens);
  static constexpr size_t kBytesPerBlock = 192;  // of memory, without the token ids

  enum class Found : uint8_t {
    kBlock,
    kMissing,  // there is no record, or no block that it continues
    kDamaged,  // the record is another block's, or none
  };
  // `head` is what the store has under the name of the block; empty: nothing. The block that it continues
  // was added before. Call it for the hottest blocks first, and once for each.
  Found Add(const BlockKey& key, std::string_view head);
  size_t blocks() const { return blocks_.size(); }

  struct Chain {
    BlockKey root;
    std::vector<TokenId> tokens;
    std::vector<size_t> blocks;  // their numbers, in the order in which they were added
  };
  // The chain of the hottest block that was on none so far, and on to the hottest of those that continue it.
  // Nothing: all were.
  std::optional<Chain> Next();

 private:
  static constexpr size_t kNone = SIZE_MAX;
  struct Block {
    BlockKey root;
    size_t parent = kNone;
    size_t child = kNone;  // the hottest
    size_t depth = 0;
    bool planned = false;
  };

  const Options options_;
  std::vector<Block> blocks_;
  std::vector<TokenId> tokens_;         // of the blocks, in their order
  std::map<BlockKey, size_t> numbers_;  // no hash table: who writes to the store chooses the keys
  size_t next_ = 0;
};

}  // namespace prefixd
