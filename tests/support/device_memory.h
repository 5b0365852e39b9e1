// Device blocks in memory of the test, for TierTransfers::Options. Any thread.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "cache/tier_transfers.h"

namespace prefixd::testing_support {

// Lets transfers copy from and to the blocks that `block` gives. It is called by workers. Requires
// options->block_bytes.
inline void UseDeviceMemory(std::function<std::span<std::byte>(BlockId)> block,
                            TierTransfers::Options* options) {
  options->read_device = [block](BlockId from, std::span<std::byte> to) {
    std::ranges::copy(block(from), to.begin());
    return Status::Ok();
  };
  options->write_device = [block = std::move(block)](std::span<const std::byte> from, BlockId to) {
    std::ranges::copy(from, block(to).begin());
    return Status::Ok();
  };
  options->stage = [bytes = options->block_bytes] {
    return std::shared_ptr<std::byte>(new std::byte[bytes], std::default_delete<std::byte[]>());
  };
}

}  // namespace prefixd::testing_support
