// SegmentDb: immutable segments on a medium. A segment is a list of records and a directory that describes
// them; its writer numbers it. It appears and disappears whole. Only what a segment contains is known here:
// which records are alive, how much fits and what is evicted is DiskStore's.
//
// Two implementations: OpenRocksdb stores each segment as one SST file of RocksDB (docs/FORMAT.md), and tests
// have one in memory. Any thread, but calls that change the segments (Add, Drop) come one at a time.
// OpenRocksdbForReading gives a reader alone, which may run beside the process that has the database open.
//
// Guarantees
//   1. When Add has returned ok, the segment is there after any crash. When Add failed, or a crash came
//      before, the segment is there whole or not at all.
//   2. Read and ReadDirectory return exactly what Add was given, or an error: kNotFound (no such segment or
//      record), kCorrupt (damaged), kIo (the medium failed). They may run beside Add and Drop.
//   3. The physical bytes of a segment are at most Bound of its contents.
//   4. When Drop has returned ok, the bytes of the segment are free again.
//   5. No member throws, whatever lies on the medium.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "storage/byte_ledger.h"
#include "storage/file_observer.h"

namespace prefixd {

class SegmentReader {
 public:
  virtual ~SegmentReader() = default;

  // The numbers of all segments, ascending. Reads nothing from the medium.
  virtual std::vector<uint32_t> Segments() const = 0;
  virtual Result<std::string> Read(uint32_t number, uint32_t ordinal) = 0;
  virtual Result<std::string> ReadDirectory(uint32_t number) = 0;
  // The physical bytes of every segment, by number; 0 when its file is gone.
  virtual std::map<uint32_t, uint64_t> PhysicalBytes() const = 0;
};

class SegmentDb : public SegmentReader {
 public:
  // `number` is greater than those of all segments there ever were. The records get the ordinals 0, 1, ….
  // kResourceExhausted: the medium is full, or the law of the ledger forbids it.
  virtual Status Add(uint32_t number, std::span<const std::string_view> records,
                     std::string_view directory) = 0;
  // Ok also when there is no such segment.
  virtual Status Drop(uint32_t number) = 0;
  // Tries to work again after a failed Add or Drop: the failed change has either taken place then or not.
  // Like Add and Drop, one at a time. Where the database itself may be half changed, it is opened again:
  // reads beside that wait, and when it fails, all calls fail until one succeeds. Otherwise, as when the disk
  // was too full for the segment, this does nothing and reads go on.
  virtual Status Recover() = 0;

  // An upper bound of the physical bytes of a segment of `records` records with `bytes` bytes in all.
  virtual uint64_t Bound(uint64_t records, uint64_t bytes, uint64_t directory_bytes) const = 0;
};

struct RocksdbOptions {
  std::string path;  // the directory of the database; exists
  // Room for all that is not a segment: manifests, options, directories. At least RocksdbReserve(segments).
  uint64_t max_segments = 1024;
  ByteLedger* ledger = nullptr;      // has measured `path`; outlives the database
  FileObserver* observer = nullptr;  // may be null; outlives the database
  // Records are read in their order, through the page cache. Otherwise they are read past it where possible.
  bool read_ahead = false;
};
// Opens or creates the database. kCorrupt: it is damaged so that RocksDB cannot open it. kIo,
// kResourceExhausted: the medium failed or is full.
Result<std::unique_ptr<SegmentDb>> OpenRocksdb(const RocksdbOptions& options);
// Opens the database in the directory without its lock, with `read_ahead`, and changes no byte of it. It sees
// the segments that were there when it was opened. Read and ReadDirectory return kUnavailable when the file
// of a segment is gone: the process that has the database has dropped it, or somebody removed it by hand.
Result<std::unique_ptr<SegmentReader>> OpenRocksdbForReading(const std::string& path);
// An upper bound of the bytes of the database beside its segments, at any moment.
uint64_t RocksdbReserve(uint64_t max_segments);

}  // namespace prefixd
