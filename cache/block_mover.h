// BlockMover: the port through which the cache has KV payload copied. The cache decides and keeps the books; who owns the
// memory (the engine; a test; later device and pinned host memory) does the copying. Engine thread only.
//
// Copies are asynchronous: Start returns at once, Poll hands back the tags of those that have finished since, in any
// order. A copy that was started is always reported once, failed or not. Source and target stay untouched by the cache
// until then.
#pragma once

#include <cstdint>
#include <vector>

#include "base/types.h"

namespace prefixd {

enum class Tier : uint8_t { kDevice, kHost, kDisk };

struct BlockCopy {
  Tier from_tier;
  BlockId from;
  Tier to_tier;
  BlockId to;
  uint64_t tag;  // the cache's name for this copy
};

struct FinishedCopy {
  uint64_t tag;
  bool ok;
};

class BlockMover {
 public:
  virtual ~BlockMover() = default;
  virtual void Start(const BlockCopy& copy) = 0;
  // Appends what has finished.
  virtual void Poll(std::vector<FinishedCopy>* finished) = 0;
};

}  // namespace prefixd
