// KvMemory: owns the KV pool of the device tier and copies blocks inside it. It is the engine's BlockMover.
// Engine thread only.
//
// The backend runs operations in the order in which they are enqueued. A copy is enqueued before the
// operations of the next step, so the next Poll reports it as finished.
#pragma once

#include <memory>
#include <vector>

#include "cache/block_mover.h"
#include "kernels/backend.h"

namespace prefixd {

class KvMemory final : public BlockMover {
 public:
  // `backend` must outlive the KvMemory. kResourceExhausted: not enough memory.
  static Result<std::unique_ptr<KvMemory>> Create(Backend* backend, const KvLayout& layout, uint32_t blocks) {
    PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<KvPool> pool, backend->AllocateKv(layout, blocks));
    return std::unique_ptr<KvMemory>(new KvMemory(backend, std::move(pool)));
  }

  KvPool& pool() { return *pool_; }

  void Start(const BlockCopy& copy) override {
    PREFIXD_CHECK(copy.from_tier == Tier::kDevice && copy.to_tier == Tier::kDevice)
        << "only the device tier exists";
    PREFIXD_CHECK(copy.from != copy.to && copy.from < pool_->blocks() && copy.to < pool_->blocks())
        << copy.from << " to " << copy.to << " of " << pool_->blocks();
    backend_->CopyBlock(*pool_, copy.from, copy.to);
    enqueued_.push_back({copy.tag, true});
  }

  void Poll(std::vector<FinishedCopy>* finished) override {
    finished->insert(finished->end(), enqueued_.begin(), enqueued_.end());
    enqueued_.clear();
  }

 private:
  KvMemory(Backend* backend, std::unique_ptr<KvPool> pool) : backend_(backend), pool_(std::move(pool)) {}

  Backend* const backend_;
  const std::unique_ptr<KvPool> pool_;
  std::vector<FinishedCopy> enqueued_;
};

}  // namespace prefixd
