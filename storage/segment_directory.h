// The directory of a segment: what its records are, so that a start reads the directories alone. It also has
// the deletions that were decided before the segment was written. docs/FORMAT.md has the layout.
//
// Pure functions; any thread. The decoder accepts any bytes.
//
// Invariants
//   1. What DecodeDirectory accepts is exactly what EncodeDirectory writes for what it returns.
//   2. The checksum covers every byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "hashing/block_key.h"

namespace prefixd {

struct DirectoryEntry {
  BlockKey key;
  uint32_t bytes = 0;          // of the record
  float heat = 0;              // see record_value.h; a number
  uint64_t created = 0;        // unix seconds
  uint8_t cost_class = 0;      // see record_value.h
  std::string_view head = {};  // the first bytes of the record
};

// How long a record is kept.
struct RecordRetention {
  uint64_t until = 0;    // unix seconds
  uint32_t seconds = 0;  // a use at time t keeps it until t + seconds
  uint64_t owner = 0;    // whose part of the budget it takes

  friend bool operator==(const RecordRetention&, const RecordRetention&) = default;
};

// A record of this or an earlier segment that is kept.
struct KeptEntry {
  BlockKey key;
  uint32_t bytes = 0;  // of the record
  RecordRetention retention;

  friend bool operator==(const KeptEntry&, const KeptEntry&) = default;
};

struct SegmentDirectory {
  BlockKey group;   // of all records: the model; see DiskStore
  double tick = 0;  // when it was written, in half-lives of record_value.h; a number >= 0
  std::vector<DirectoryEntry> entries = {};  // the i-th describes the record with ordinal i
  // A record of one of these keys in a segment with a smaller number is dead.
  std::vector<BlockKey> deleted = {};
  // Of several entries with one key, the latest time counts.
  std::vector<KeptEntry> kept = {};
};

std::string EncodeDirectory(const SegmentDirectory& directory);
// The length of the encoding of `entries` whole heads, `deleted` keys and `kept` records.
uint64_t DirectoryBytes(uint64_t entries, uint64_t deleted, uint64_t kept = 0);
// The heads refer to `bytes`. kUnsupported: the directory of another version; kCorrupt: damaged.
Result<SegmentDirectory> DecodeDirectory(std::string_view bytes);

}  // namespace prefixd
