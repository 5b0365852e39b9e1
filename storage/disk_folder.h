// DiskFolder: the directory of a disk cache. It makes the directory private, keeps a second daemon out, finds
// what else lies there, and opens the database; one that RocksDB cannot open is set aside, so that the cache
// begins empty and nothing is lost to whoever wants to look.
//
//   DIR/lock          held by the daemon that uses DIR; its process id, and its note for the next one
//   DIR/segments-1/   the database of this format version
//   DIR.damaged-N/    a database that did not open (DIR/damaged-N where the parent cannot be written)
//   DIR/*             anything else: counted, and never touched, but for folders of other versions
//
// Its bytes, set-aside folders included, are in the ledger. Owned by one DiskStore, under its lock.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "storage/byte_ledger.h"
#include "storage/file_observer.h"
#include "storage/segment_db.h"

namespace prefixd {

// What lies in the directory of a disk cache, seen without its lock.
struct DiskFolderContents {
  std::string path;                         // absolute
  std::string database;                     // of this format version; empty when there is none
  std::vector<std::string> set_aside;       // damaged databases, the oldest first
  std::vector<std::string> other_versions;  // databases of other format versions
  bool in_use = false;                      // a process has the lock
  std::string owner;                        // its process id, as it wrote it; may be empty

  // "process 4242"
  std::string OwnerText() const { return "process " + (owner.empty() ? "(unknown)" : owner); }
};
// Changes nothing. kInvalidArgument: there is no such directory, it is no disk cache, or it may not be read.
Result<DiskFolderContents> LookIntoDiskFolder(const std::string& path);

// What DiskFolder::Open would say of `path`, as far as it can be told without changing anything.
// kInvalidArgument: it has files and is no disk cache. kUnavailable: another process has it.
Status CheckDiskFolder(const std::string& path);

// Physical bytes of the disk cache in `path`, with what was set aside; 0 when there is none.
uint64_t DiskFolderBytes(const std::string& path);

class DiskFolder {
 public:
  static constexpr size_t kMostNote = 128;  // bytes

  // Makes `path` if it is not there (mode 0700) and locks it. `note`, one line of at most kMostNote bytes, is
  // left for the next one that opens it; without one, the note that is there stays.
  // kUnavailable: another process has it. kInvalidArgument: it is no directory or not that of a cache, it
  // cannot be made, or it may not be written.
  static Result<std::unique_ptr<DiskFolder>> Open(const std::string& path, ByteLedger* ledger,
                                                  std::string_view note = {});
  ~DiskFolder();
  DiskFolder(const DiskFolder&) = delete;
  DiskFolder& operator=(const DiskFolder&) = delete;

  // Opens the database. One that is damaged is set aside first, with a line in the log.
  Result<std::unique_ptr<SegmentDb>> OpenDatabase(uint64_t max_segments, FileObserver* observer,
                                                  bool read_ahead = false);
  // Removes the oldest of the folders that are set aside, or that are of another version. Returns false when
  // there is none.
  Result<bool> RemoveOldest();

  // Removes every database: that of this version, which must not be open, those set aside and those of other
  // versions. Returns the paths that stay: what somebody else has put into the folder of this version. In the
  // other folders nobody can tell what a database made, so all of it goes.
  Result<std::vector<std::string>> RemoveAll();

  // Whether the file of the lock and the database are still those that were opened. kIo: they were removed or
  // replaced, or cannot be seen. Any thread; asks the file system twice.
  Status StillThere() const;
  // kResourceExhausted: the file system has less room, as it says.
  Status HasRoomFor(uint64_t bytes) const;

  const std::string& path() const { return path_; }
  // The note that was there; empty: none.
  const std::string& note_before() const { return note_before_; }

 private:
  DiskFolder(std::string path, ByteLedger* ledger, int lock, std::string note_before)
      : path_(std::move(path)), ledger_(ledger), lock_(lock), note_before_(std::move(note_before)) {}
  Status SetAside(const Status& why);

  const std::string path_;
  ByteLedger* const ledger_;
  const int lock_;  // file descriptor
  const std::string note_before_;
  // The device and the inode of the open database; 0 while there is none.
  std::pair<uint64_t, uint64_t> database_ = {};
};

}  // namespace prefixd
