// DiskShares: owners of records on a DiskStore of the least size, from a seed. They write more than it holds,
// replace, read, keep and delete records; their shares change; the process ends, cleanly or with the power,
// and the next one may have to make room before it knows what lies there.
//
// A violated law aborts the process; `prefixd_sim --disk` says at which seed and event.
//
// Laws, after every event
//   1. An owner that does nothing and has no more than it is guaranteed loses no record, and one that has
//      more keeps as many bytes: whatever others do, and over restarts what was durable.
//   2. The store never has more bytes than its capacity.
// At rest
//   3. Nobody has more than its limit.
//   4. The store counts of each owner the bytes of the records that it finds, and each is as it was put last.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/prng.h"
#include "storage/disk_store.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/temp_dir.h"

namespace prefixd::sim {

// What happened. A simulation in which something never happens does not test it.
struct DiskSharesSeen {
  uint64_t puts = 0, replaced = 0, deleted = 0, kept = 0, evicted = 0, rests = 0;
  uint64_t restarts = 0, crashes = 0, floods_before_scan = 0;
  uint64_t guarded = 0;  // events in which the store evicted, while an owner had no more than its guarantee
  uint64_t limited = 0;  // rests before which an owner had more than its limit

  void Add(const DiskSharesSeen& other);
};

// A planted bug: the store is not told one of the two.
enum class Untold : uint8_t { kNothing, kGuarantees, kLimits };

DiskSharesSeen SimulateDiskShares(uint64_t seed, Untold untold = Untold::kNothing);

class DiskShares {
 public:
  DiskShares(uint64_t seed, Untold untold);

  DiskSharesSeen Run(int events);

 private:
  static constexpr size_t kOwners = 4;            // the last one has no share
  static constexpr uint64_t kKeys = 600;          // of each owner
  using Versions = std::map<uint64_t, uint64_t>;  // by the number of the record
  struct Owner {
    OwnerShare share;
    Versions records;              // that the store has, in the version that was put last
    Versions durable;              // as of the last Sync; only those that a crash must leave
    std::set<uint64_t> uncertain;  // a crash may leave any version of these, or none
    std::map<uint64_t, std::set<uint64_t>> history;  // all versions
    uint64_t before = 0;                             // bytes before the event
    bool acted = false;                              // in the event
  };

  void Open();
  void Scan();
  void Event();
  void Write(size_t owner, uint64_t bytes);
  void Touch(size_t owner);
  void ChangeShares();
  std::vector<OwnerShare> Told() const;
  void Sync();
  void Pass(int64_t nanos);
  // The process ends, and the next one begins. With the power, what is not durable is lost or kept by chance.
  void Restart(bool power_fails);
  void Rest();
  // Takes out of the model what the store has dropped, and finds whether it might.
  void Check();
  // The same after a crash.
  void CheckAfterCrash();
  void CheckAtRest();
  void NoteEvictions();
  size_t AnOwner() { return random_.Below(kOwners); }
  static BlockKey Key(size_t owner, uint64_t number);
  static uint64_t Name(size_t owner) { return 1000 + owner; }
  static std::string Record(size_t owner, uint64_t number, uint64_t version);
  static uint64_t PayloadBytes(size_t owner, uint64_t number);
  static uint64_t Bytes(size_t owner, uint64_t number);  // the same for all versions
  static uint64_t Bytes(size_t owner, const Versions& records);

  const Untold untold_;
  Prng random_;
  ManualClock clock_;
  const testing_support::TempDir folder_{"/dev/shm"};
  testing_support::FaultyDisk medium_;
  std::array<Owner, kOwners> owners_;
  uint64_t last_version_ = 0, evicted_before_ = 0;
  DiskSharesSeen seen_;
  std::unique_ptr<DiskStore> store_;
};

}  // namespace prefixd::sim
