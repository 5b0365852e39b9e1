// Verifies the records of a disk cache: reads every live record, decodes it and its payload, and compares it
// with what its directory says and with its own key. It changes nothing and may run beside a daemon.
//
// One thread. It needs the memory of one record and its payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hashing/block_key.h"
#include "storage/disk_catalog.h"
#include "storage/segment_db.h"

namespace prefixd {

struct DamagedRecord {
  BlockKey model;
  BlockKey key;
  uint32_t segment = 0;
  std::string defect;  // see VerifyReport::defects
};

struct VerifyReport {
  uint64_t records = 0;  // that were read
  uint64_t bytes = 0;
  uint64_t gone = 0;           // live records whose segment is not there any more
  uint64_t other_version = 0;  // of another version, which is no damage: only those daemons can check them
  // How many records have which defect: the name of a RecordDefect (storage/record.h), "table" when the
  // database's own checksum found the damage, "medium" when the operating system reported an error.
  std::map<std::string, uint64_t> defects;
  std::set<std::pair<uint32_t, uint32_t>> damaged;  // segment and ordinal of all
  std::vector<DamagedRecord> first;                 // at most kFirstDamaged of them

  static constexpr size_t kFirstDamaged = 20;
};

// `progress` is called after every record with its bytes; it may be empty.
VerifyReport VerifyDisk(SegmentReader* reader, const DiskCatalog& catalog,
                        const std::function<void(uint64_t bytes)>& progress);

}  // namespace prefixd
