// LossLog: which tier lost a block last, and when, so that a miss can be explained. A block is known by its
// key. It has a fixed size: what was lost the longest ago is forgotten, about.
//
// An entry takes 8 bytes, of which 28 bits are a part of a hash of the key. Two blocks are taken for each
// other with a chance of 2^-25, so a wrong reason is told that often, and nothing else.
//
// Threads: one owner; in a cache the engine thread.
//
// Invariants
//   1. It takes MaxMemoryBytes(capacity), whatever is added.
//   2. Find returns what was added last for the key, unless 8 keys of the same bucket were added since. The
//      buckets have room for `capacity` losses, so nearly all of the last half of that is remembered.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cache/miss_reason.h"
#include "hashing/block_key.h"

namespace prefixd {

class LossLog {
 public:
  explicit LossLog(size_t capacity);

  struct Loss {
    MissReason reason;
    double seconds;  // when
  };
  // `seconds` >= 0 is the time; it is kept to 1/16 s, and for 8 years.
  void Add(const BlockKey& key, MissReason reason, double seconds);
  void Forget(const BlockKey& key);
  void Clear();
  std::optional<Loss> Find(const BlockKey& key) const;

  size_t MemoryBytes() const { return buckets_.capacity() * sizeof(Bucket); }
  static size_t MaxMemoryBytes(size_t capacity);

 private:
  static constexpr int kTagBits = 28;
  struct Entry {
    uint64_t tag : kTagBits = 0;
    uint64_t reason : 4 = 0;  // of MissReason, plus 1; 0: the entry is empty
    uint64_t when : 32 = 0;   // in 1/16 s
  };
  static_assert(sizeof(Entry) == 8 && kMissReasons < 16);
  using Bucket = std::array<Entry, 8>;  // the last one first; a line of the processor's cache

  static size_t BucketsFor(size_t capacity);
  Bucket& BucketOf(const BlockKey& key, uint64_t* tag);
  const Bucket& BucketOf(const BlockKey& key, uint64_t* tag) const;

  std::vector<Bucket> buckets_;
};

}  // namespace prefixd
