// HotBlocks: how often requests took blocks from the cache, since this was asked last. So the daemon can tell
// others which blocks are worth having.
//
// Threads: the engine thread calls Add, any one other thread Take. The mutex is held for one request, or for
// the swap of a pointer.
//
// Invariants
//   1. It counts at most `most_blocks` blocks; while it is full, others are left out.
//   2. A block was counted at least as often as each block that follows it: Add counts from the beginning of
//      a prompt. Of blocks that are left out, those that follow are, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>

#include "base/mutex.h"
#include "cache/block_keys.h"
#include "hashing/block_key.h"

namespace prefixd {

class HotBlocks {
 public:
  struct Count {
    uint32_t hits = 0;
    uint32_t depth = 0;  // blocks before it in its sequence
  };
  using Counts = std::unordered_map<BlockKey, Count>;
  static constexpr size_t kBytesPerBlock = 64;  // of Counts

  HotBlocks(int block_tokens, size_t most_blocks) : block_tokens_(block_tokens), most_blocks_(most_blocks) {
    counts_.reserve(most_blocks_);
  }

  // A request took its first `cached` tokens from the cache, or as many.
  void Add(const BlockKeys& keys, int cached) {
    const auto blocks = static_cast<size_t>(cached / block_tokens_);
    MutexLock lock(mutex_);
    for (size_t i = 0; i < blocks && i < keys.size(); ++i) {
      const auto counted = counts_.find(keys.key(i));
      if (counted != counts_.end()) {
        ++counted->second.hits;
      } else if (counts_.size() < most_blocks_) {
        counts_.emplace(keys.key(i), Count{.hits = 1, .depth = static_cast<uint32_t>(i)});
      } else {
        return;
      }
    }
  }

  // The counts since the last call.
  Counts Take() {
    Counts next;
    next.reserve(most_blocks_);  // so that Add never moves the others
    MutexLock lock(mutex_);
    return std::exchange(counts_, std::move(next));
  }

 private:
  const int block_tokens_;
  const size_t most_blocks_;
  Mutex mutex_;
  Counts counts_ GUARDED_BY(mutex_);
};

}  // namespace prefixd
