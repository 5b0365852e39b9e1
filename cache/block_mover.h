// BlockMover: the interface through which the cache copies KV blocks. The cache decides what is copied. The
// owner of the memory implements the interface: the engine, a test, later the owners of device and pinned
// host memory. Engine thread only.
//
// Copies are asynchronous. Start returns at once; a later Poll reports the tag of each copy that has
// finished, in any order. Every started copy is reported exactly once, whether it succeeded or failed. Until
// then the cache changes neither its source nor its target.
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
  uint64_t tag;  // the cache's id of this copy
};

struct FinishedCopy {
  uint64_t tag;
  bool ok;
};

class BlockMover {
 public:
  virtual ~BlockMover() = default;
  virtual void Start(const BlockCopy& copy) = 0;
  // Appends the copies that have finished since the last call.
  virtual void Poll(std::vector<FinishedCopy>* finished) = 0;
};

}  // namespace prefixd
