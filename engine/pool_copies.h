// Connects the transfers between tiers, which know no pools, with the pool of the device tier. Any thread.
#pragma once

#include <cstddef>
#include <span>

#include "cache/tier_transfers.h"
#include "kernels/backend_memory.h"

namespace prefixd {

// Lets transfers copy blocks from and to the pool. `copier` and `pool` outlive them.
inline void CopyFromPool(KvCopier* copier, KvPool* pool, TierTransfers::Options* options) {
  options->read_device = [=](BlockId from, std::span<std::byte> to) { return copier->Read(*pool, from, to); };
  options->write_device = [=](std::span<const std::byte> from, BlockId to) {
    return copier->Write(from, *pool, to);
  };
  options->stage = [=] { return copier->Stage(); };
}

}  // namespace prefixd
