// KvStaging: the buffers that a KvCopier lends. Each holds a block on its way between a pool and a store.
// Their number bounds the memory under way. Any thread.
//
// Invariants
//   1. A buffer is lent to one caller at a time.
//   2. At the end no buffer is lent.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/mutex.h"

namespace prefixd {

class KvStaging {
 public:
  // Lends the parts of `memory`, which has buffers * block_bytes bytes and outlives it.
  KvStaging(std::byte* memory, size_t buffers, size_t block_bytes);
  ~KvStaging();
  KvStaging(const KvStaging&) = delete;
  KvStaging& operator=(const KvStaging&) = delete;

  // As KvCopier::Stage.
  std::shared_ptr<std::byte> Lend();

 private:
  void GiveBack(std::byte* buffer);

  const size_t buffers_;
  Mutex mutex_;
  CondVar given_back_;
  std::vector<std::byte*> free_ GUARDED_BY(mutex_);
};

}  // namespace prefixd
