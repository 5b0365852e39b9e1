// FaultyDisk: the observer of a disk store that makes its file operations fail, and that knows what a crash
// of the machine would leave of them. Faults come from a script (FailFrom) or at random, from a seed.
//
//   fails          an operation returns EIO or ENOSPC; of a failed write a part may have taken place
//   slow           an operation waits a little
//   short, flips   a read returns fewer bytes, or a byte of it is changed
//   crash          what was not synced is lost
//
// What it knows of the files is what it is told. Folders, and files that are made by other means, count as
// durable. Any thread, but Crash is called when no store is open.
//
// Invariants
//   1. The content of a file is durable up to the length that it had at its last successful Sync. After a
//      failed Sync of a file no later one makes more of it durable, as on Linux, where the pages of a failed
//      write count as clean.
//   2. The creation, the removal and the renaming of a file are durable when its folder was synced after.
//   3. Of such changes that are not durable, a crash may keep some; when it keeps one, then also all before
//      it, as a journal does.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/prng.h"
#include "storage/file_observer.h"

namespace prefixd::testing_support {

// How probable a fault is in one operation.
struct FaultRates {
  double io_error = 0;
  double disk_full = 0;  // of a create or an append
  double slow = 0;
  double short_read = 0;
  double flipped_bit = 0;  // of a read
};

class FaultyDisk final : public FileObserver {
 public:
  // Faults happen to files below `folder`, which need not exist yet. Uses `folder`.unsynced for what a crash
  // may bring back.
  FaultyDisk(std::string folder, uint64_t seed);

  // The `count` operations after the next `skip` fail.
  void FailFrom(uint64_t skip, uint64_t count, Code code);
  void SetRates(const FaultRates& rates);
  // No faults from now on; those of SetRates and FailFrom are over.
  void Heal();
  // Every operation fails from now on, until Crash.
  void PowerOff();
  // Makes the files what a crash leaves. What is not durable is lost; with `by_chance`, each such change is
  // lost or kept, and the end of a file may be zeros. Requires PowerOff, and that no store is open.
  void Crash(bool by_chance);

  // Whenever an operation that writes begins: counts a violation when `folder` has more physical bytes.
  // 0: no check.
  void SetLimit(uint64_t bytes) { limit_ = bytes; }
  uint64_t operations() const { return operations_; }
  uint64_t faults() const { return faults_; }
  uint64_t violations() const { return violations_; }

  Status Before(const FileCall& call, uint64_t* part) override;
  void AfterRead(const FileCall& call, std::span<char> data) override;
  void After(const FileCall& call) override;

 private:
  // The content of a file, whatever its names are.
  struct Inode {
    uint64_t synced = 0;    // durable bytes
    bool poisoned = false;  // a Sync failed
    std::string saved;      // another name of it, below `undo_`; empty when there is none
  };
  using File = std::shared_ptr<Inode>;
  // What names stand for after one operation; null: nothing.
  using Change = std::vector<std::pair<std::string, File>>;

  // Takes the files that exist, as durable.
  void AdoptLocked() REQUIRES(mutex_);
  Status Verdict(const FileCall& call, uint64_t* part) REQUIRES(mutex_);
  // Keeps a file that is about to lose `path` under another name, or a copy of it, when a crash may bring it
  // back.
  void SaveLocked(const std::string& path, bool copy) REQUIRES(mutex_);
  void ChangeLocked(Change change) REQUIRES(mutex_);
  void MakeDurableLocked(const Change& change) REQUIRES(mutex_);
  void SyncFolderLocked(const std::string& folder) REQUIRES(mutex_);
  void CutLocked(const std::string& path, const Inode& file, bool by_chance) REQUIRES(mutex_);

  const std::string folder_;
  const std::string undo_;
  std::atomic<uint64_t> limit_{0};
  std::atomic<uint64_t> operations_{0};
  std::atomic<uint64_t> faults_{0};
  std::atomic<uint64_t> violations_{0};

  Mutex mutex_;
  Prng random_ GUARDED_BY(mutex_);
  FaultRates rates_ GUARDED_BY(mutex_);
  uint64_t fail_from_ GUARDED_BY(mutex_) = UINT64_MAX;  // an operation's number
  uint64_t fail_until_ GUARDED_BY(mutex_) = 0;
  Code fail_code_ GUARDED_BY(mutex_) = Code::kIo;
  bool off_ GUARDED_BY(mutex_) = false;
  uint64_t saved_ GUARDED_BY(mutex_) = 0;                   // names given out below `undo_`
  std::map<std::string, File> now_ GUARDED_BY(mutex_);      // by path
  std::map<std::string, File> durable_ GUARDED_BY(mutex_);  // by path, as the last synced change left it
  std::vector<Change> unsynced_ GUARDED_BY(mutex_);         // in their order
};

}  // namespace prefixd::testing_support
