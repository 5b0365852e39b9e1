// RemoteLeases: which prefixes this daemon computes for all that share a remote tier, and which it waits for
// because another one computes them. So a cold prefix that several daemons want at once is computed once.
//
//   Take      after a question: takes the leases of the blocks that the store lacks, or begins to wait for
//             the daemon that has the first of them
//   Work      from then on: renews leases, looks whether others wait for them, and gives them back; and looks
//             for the blocks that are waited for. A lease that is free by then, it takes
//
// A lease is a mark in the store (docs/FORMAT.md) of a segment of kRemoteSegment blocks, by the key of the
// first one. It says who computes which blocks of it: prefixes that part within a segment have one mark. The
// server drops it after a second or less unless it is renewed, so a daemon that is killed holds up nobody for
// long. Who waits leaves a second mark; only then are the blocks written at once.
//
// Who has a lease can be sure of it until the time for which it was set is over, by the clock of this daemon:
// the server has counted from later on. It renews and deletes it before, and leaves it alone after. A server
// that stands still meanwhile may then delete another's: that costs a second computing, no more.
//
// Threads: any may call IsComputedElsewhere, IsWanted, End, due and stats, which never wait for the store.
// One thread calls the others, which do.
//
// Invariants
//   1. There are at most kMost leases and waits each, of one asker one each.
//   2. A lease is renewed until End, then until its blocks are written, or none has been for write_nanos; and
//      no longer than twice the time that computing was to take, and 2 seconds.
//   3. After a wait in vain, in which no block came, nothing is leased or waited for during a time that
//      doubles (base/read_pause.h): a store that lies costs one wait.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/read_pause.h"
#include "cache/transfer_port.h"
#include "storage/redis_store.h"

namespace prefixd {

// What became of leases. prefixd_remote_leases_total has a label for each, in the same order.
enum class RemoteLease : uint8_t {
  kTaken,   // this daemon had the lease of what it was about to compute
  kWanted,  // of these: another daemon waited for it
  kWaited,  // another daemon had it, and this one waited
  kMissed,  // of these: not all blocks came in time
};
inline constexpr int kRemoteLeases = 4;

class RemoteLeases {
 public:
  static constexpr size_t kMost = 32;
  // Of a Question, at most.
  static constexpr uint64_t kQuestionBytes = (kMostRemoteAsked + kRemoteSegment) * sizeof(BlockKey);

  struct Options {
    double least_seconds = 0.5;  // what takes less to compute is not leased; 0: nothing is
    bool all_wanted = false;     // as if others waited for each lease
    uint64_t holder = 0;         // the number of this daemon, unlike all others
    // A lease lasts an eighth of the time to compute what it is for, within these, unless it is renewed: when
    // its holder is killed, those that wait have half of what they may wait left.
    int64_t shortest_nanos = 500'000'000, longest_nanos = 1'000'000'000;
    // The longest time from one block that is written to the next, once all are computed.
    int64_t write_nanos = 1'000'000'000;
  };
  // A RemoteQuestion with its own keys: they begin with block number `base`, a multiple of kRemoteSegment,
  // and are asked for from keys[first] on.
  struct Question {
    std::vector<BlockKey> keys;
    size_t base = 0, first = 0;
    double seconds = 0;
    uint64_t asker = 0;
  };

  // Both must outlive it.
  RemoteLeases(const Options& options, RedisStore* store, const Clock* clock);

  // Whether another daemon computes the block, and is waited for.
  bool IsComputedElsewhere(const BlockKey& key) const;
  bool IsWanted(uint64_t asker) const;
  // See TransferPort::EndRemote.
  void End(uint64_t asker, size_t computed, RemoteEnd end);
  // When Work has something to do, on the clock; INT64_MAX: nothing.
  int64_t due() const { return due_; }
  std::array<uint64_t, kRemoteLeases> stats() const;

  Status Take(Question question);
  // Does what is due. Calls `changed` when the engine may go on, or has to know.
  Status Work(const std::function<void()>& changed);
  // Forgets all, because the store has failed. Returns whether there was something.
  bool Forget();

 private:
  // The leases of an asker.
  struct Hold {
    Question question;
    size_t first = 0;              // of question.keys: the first block that the store lacked
    std::vector<size_t> segments;  // those leased: the first one of each, of question.keys
    int64_t ttl = 0, sure_until = 0, until = 0, due = 0;
    bool wanted = false;
    bool over = false;       // the asker has ended
    size_t computed = 0;     // of question.keys, when over
    size_t written = 0;      // as many were written when it was looked at last
    int64_t written_by = 0;  // the next one is to be
  };
  struct Wait {
    Question question;
    size_t begin = 0, end = 0;  // of question.keys: the first that is missing, and where what comes ends
    size_t came = 0;            // blocks
    bool is_looked_at = false;  // what comes may end later
    int64_t began = 0, marked_until = 0, due = 0;
  };
  enum class Taking : uint8_t { kTaken, kWaits, kNeither };

  // Of question.keys from `first` on.
  Result<Taking> TakeFrom(const Question& question, size_t first, Wait* wait);
  Status WorkOnHold(Hold hold, const std::function<void()>& changed);
  Status WorkOnWait(Wait wait, const std::function<void()>& changed);
  Status Renew(Hold* hold, const std::function<void()>& changed);
  Status GiveBack(const Hold& hold);
  bool IsWritten(Hold* hold) const;
  size_t FirstMissing(const Question& question, size_t from) const;
  std::string ValueOf(const Question& question, size_t segment) const;
  std::vector<RedisStore::Mark> Marks(std::string_view kind, const Question& question,
                                      const std::vector<size_t>& segments) const;
  void Update(const Hold& hold);
  // A lease that could not be renewed is tried again after a while; who waited for one does so no more.
  void PutOff(uint64_t asker);
  void GiveUp(uint64_t asker, const std::function<void()>& changed);
  void Count(RemoteLease what) REQUIRES(mutex_) { ++stats_[static_cast<size_t>(what)]; }
  void SetDue() REQUIRES(mutex_);

  const Options options_;
  RedisStore* const store_;
  const Clock& clock_;
  ReadPause distrust_;
  mutable Mutex mutex_;
  std::map<uint64_t, Hold> holds_ GUARDED_BY(mutex_);  // by asker
  std::map<uint64_t, Wait> waits_ GUARDED_BY(mutex_);
  std::deque<uint64_t> ended_ GUARDED_BY(mutex_);  // the last askers that had none when they ended
  std::array<uint64_t, kRemoteLeases> stats_ GUARDED_BY(mutex_){};
  std::atomic<int64_t> due_{INT64_MAX};
};

}  // namespace prefixd
