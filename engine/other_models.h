// OtherModels: which blocks the disk cache has of other models, or of this one in another form: with another
// type of KV, other weights, another size of blocks. They share no KV with this one, and a miss can be
// explained by them. It knows the keys of their records, as the directories of segments have them.
//
// A prompt is looked for under the roots that its own namespace has with those models. So a caller learns
// nothing of what others had, and nothing is stored for it. A model with another tokenizer has other ids for
// a text: its records are not found.
//
// Threads: any.
//
// Invariants
//   1. It knows at most kMostModels models and kMostKeys keys: those that were added first, but for less than
//      one of a hundred. A DiskStore reads its newest segments first.
//   2. It takes no memory before the first Add, and at most MaxMemoryBytes().
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/types.h"
#include "cache/loss_log.h"
#include "engine/request.h"
#include "hashing/block_key.h"

namespace prefixd {

class OtherModels {
 public:
  static constexpr size_t kMostModels = 8;
  static constexpr size_t kMostKeys = size_t{1} << 18;
  static constexpr int kMostBlockTokens = 1 << 16;

  // Keys of blocks of a model. No effect when `block_tokens` is not between 1 and kMostBlockTokens.
  void Add(const BlockKey& fingerprint, int block_tokens, std::span<const BlockKey> keys) EXCLUDES(mutex_);

  // How many leading tokens of a prompt one of the models has in the namespace.
  int FindPrefix(const CacheNamespace& of, std::span<const TokenId> prompt) const EXCLUDES(mutex_);

  static size_t MaxMemoryBytes() { return LossLog::MaxMemoryBytes(kLogCapacity); }

 private:
  struct Model {
    BlockKey fingerprint;
    int block_tokens = 0;
  };
  // A log that is half full forgets few of its losses; one that is full, many.
  static constexpr size_t kLogCapacity = 2 * kMostKeys;

  mutable Mutex mutex_;
  std::vector<Model> models_ GUARDED_BY(mutex_);
  std::optional<LossLog> keys_ GUARDED_BY(mutex_);
  size_t added_ GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd
