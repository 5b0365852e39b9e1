// Who uses a disk cache: the tenants and the prefixes of a model that have most bytes, from a DiskCatalog.
//
// A record names the record of the block before it, its parent, so the records of a model form trees. The
// first record of a tree is the first block of a prompt, or a block whose parent is not on the disk any more.
//
// Pure functions; any thread. They need 36 bytes a record for the time of a call. A chain of parents may have
// any form, also that of a circle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hashing/block_key.h"
#include "storage/disk_catalog.h"

namespace prefixd {

struct TenantSummary {
  BlockKey root;
  uint64_t records = 0;
  uint64_t bytes = 0;
  uint64_t tokens = 0;
};

// A tree of records.
struct PrefixSummary {
  size_t first = 0;    // its first record, a place in CatalogModel::records
  bool whole = false;  // it begins a prompt; otherwise the blocks before it are gone
  uint64_t records = 0;
  uint64_t bytes = 0;
  uint64_t tokens = 0;
  // From the first record to the first one that not exactly one record follows.
  uint64_t shared_tokens = 0;
};

struct ModelUsage {
  std::vector<TenantSummary> tenants;   // those with most bytes, at most `count`
  std::vector<PrefixSummary> prefixes;  // those with most bytes, at most `count`
  uint64_t prefix_count = 0;            // of all trees
  uint64_t orphans = 0;                 // records that no chain of parents joins to the beginning of a prompt
};

ModelUsage SummarizeModel(const CatalogModel& model, size_t count);

}  // namespace prefixd
