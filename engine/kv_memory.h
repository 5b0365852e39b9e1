// KvMemory: owns the KV pool of the device tier and copies blocks inside it. It is the engine's DeviceCopier.
// Engine thread only.
//
// The backend runs operations in the order in which they are enqueued, and a copy is enqueued before the
// operations of the next step. So the step reads the copied block.
#pragma once

#include <memory>

#include "cache/free_blocks.h"
#include "cache/transfer_port.h"
#include "kernels/backend.h"

namespace prefixd {

// Those who choose blocks choose what memory gives fast.
static_assert(FreeBlocks::kGroup == kKvGroup);

class KvMemory final : public DeviceCopier {
 public:
  // `backend` must outlive the KvMemory. kResourceExhausted: not enough memory.
  static Result<std::unique_ptr<KvMemory>> Create(Backend* backend, const KvLayout& layout, uint32_t blocks) {
    PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<KvPool> pool, backend->AllocateKv(layout, blocks));
    return std::unique_ptr<KvMemory>(new KvMemory(backend, std::move(pool)));
  }

  KvPool& pool() { return *pool_; }
  // The blocks of the pool cannot be read any more.
  bool lost() const { return backend_->lost(); }

  void CopyBlock(BlockId from, BlockId to) override {
    PREFIXD_CHECK(from != to && from < pool_->blocks() && to < pool_->blocks())
        << from << " to " << to << " of " << pool_->blocks();
    backend_->CopyBlock(*pool_, from, to);
  }

 private:
  KvMemory(Backend* backend, std::unique_ptr<KvPool> pool) : backend_(backend), pool_(std::move(pool)) {}

  Backend* const backend_;
  const std::unique_ptr<KvPool> pool_;
};

}  // namespace prefixd
