// DiskCatalog: what lies in the database of a disk cache, found without a store. It has every segment, of all
// models and formats, and every live record. It reads the directories of the segments, never a payload, so
// it is what `prefixd inspect`, `purge` and `verify` begin with, also beside a daemon that uses the database.
//
// Built once by one thread, then read-only; any thread.
//
// Memory: at most 130 bytes a live record, and the directory of one segment while it is read.
//
// Invariants
//   1. The records are those that a DiskStore of their group would find: of the records with one key, that of
//      the segment with the largest number, unless a segment with a larger number has deleted the key.
//   2. The records of a model are sorted by segment and ordinal, which is the order on the medium.
//   3. A segment that cannot be read never fails the whole: its state says why.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/status.h"
#include "hashing/block_key.h"
#include "storage/record_index.h"
#include "storage/segment_db.h"
#include "storage/segment_directory.h"

namespace prefixd {

enum class SegmentState : uint8_t {
  kKnown,
  kOtherFormat,  // its directory has another version
  kDamaged,      // its directory cannot be read; nor can its records be found
  kUnreadable,   // the medium failed
  kGone,         // its file is not there: dropped meanwhile by a daemon, or lost
};

struct CatalogSegment {
  SegmentState state = SegmentState::kKnown;
  std::string error;            // unless it is known
  uint64_t physical_bytes = 0;  // of its file
  BlockKey group;               // the rest is for known segments
  uint64_t count = 0;           // records, dead ones included
  uint64_t bytes = 0;           // of them
  uint64_t live = 0;
  uint64_t live_bytes = 0;
};

// A live record. Without a head the keys are 0 and there are no tokens.
struct CatalogRecord {
  BlockKey key;
  BlockKey parent;
  uint32_t root = 0;  // its place in CatalogModel::roots; kNoRoot without a head
  uint32_t segment = 0;
  uint32_t ordinal = 0;
  uint32_t bytes = 0;
  uint32_t tokens = 0;

  static constexpr uint32_t kNoRoot = UINT32_MAX;
};

// The records of one group, which are those of one model.
struct CatalogModel {
  BlockKey fingerprint;
  std::deque<CatalogRecord> records;
  std::vector<BlockKey> roots;  // of its tenants, in no order

  uint64_t segments = 0;
  uint64_t physical_bytes = 0;  // of the segments
  uint64_t dead_bytes = 0;      // of records that were replaced or deleted
  uint64_t bytes = 0;           // of the records
  uint64_t tokens = 0;
  uint64_t no_head = 0;       // records whose head does not decode, such as those of another version
  uint64_t raw_bytes = 0;     // of the payloads before compression
  uint64_t stored_bytes = 0;  // of the payloads as they are stored
  uint64_t oldest = 0;        // unix seconds: when the first and the last record was put
  uint64_t newest = 0;

  // The place of the record in `records`; -1 when there is none.
  int64_t Find(const BlockKey& key) const;

  // Where each record is: a RecordLocation whose segment is its place + 1.
  RecordIndex index;
};

struct DiskCatalog {
  std::map<uint32_t, CatalogSegment> segments;
  std::map<BlockKey, CatalogModel> models;
};

DiskCatalog ReadDiskCatalog(SegmentReader* reader);

// Reads and decodes a directory; the heads refer to `*bytes`. kUnsupported, kCorrupt, kIo, or kUnavailable
// when the segment is gone.
Result<SegmentDirectory> ReadSegmentDirectory(SegmentReader* reader, uint32_t number, std::string* bytes);

// The sum, or the largest number where it would not fit: sizes in a record may be any numbers.
uint64_t SaturatingAdd(uint64_t a, uint64_t b);

}  // namespace prefixd
