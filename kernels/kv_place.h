// Where a pool of KV has one layer of its blocks. Plain data without functions, for the kernels
// (kernels/cpu/ops.h says why). Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace prefixd {

// Block `id` lies at begin + (id >> group_shift) * group_bytes + (id & group_mask) * block_bytes; from
// `rest_first` on, at rest + (id - rest_first) * block_bytes: the last group of a pool may have fewer blocks,
// whose layers lie closer together.
struct KvPlace {
  std::byte* begin;
  size_t group_bytes;
  size_t block_bytes;
  uint32_t group_shift;
  uint32_t group_mask;
  BlockId rest_first;
  std::byte* rest;
};

}  // namespace prefixd
