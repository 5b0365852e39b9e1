// Simulation: a scheduler, a cache and its lower tiers, driven as the engine drives them, on one thread, with
// a clock that only the simulation moves and faults from a seed. Everything that a run does follows from its
// options. A violated law aborts the process; `prefixd_sim` says at which seed and event.
//
// The "model" writes into each place of a KV block a mark of its token, of all tokens before it and of the
// tenant, so wrong KV is seen wherever it comes from.
//
// Laws, after every event:
//   1. The invariants of the cache and the scheduler hold.
//   2. Every lease has exactly the KV of its tokens.
//   3. Cached and computed tokens of a prompt sum to its length, and the reasons of its misses to what was
//      computed.
//   4. What tenants are guaranteed stays while they do nothing, whatever others do: a tenant that had at most
//      so many blocks of a tier in memory loses none, and one that had more keeps as many. Nobody has more
//      than its share at rest.
//   5. After a crash, each record that was durable and not told dropped is on the disk as soon as the scan
//      has passed it.
// At rest, when no request is left and all transfers have ended:
//   6. Every accepted request has ended. Nothing is leased, nothing waits for the disk.
//   7. Every load that went wrong is counted once, and every damaged record that was read as damaged. None is
//      read again before it is written again.
#pragma once

#include <array>
#include <memory>
#include <set>
#include <vector>

#include "base/prng.h"
#include "cache/drop_queue.h"
#include "cache/tier_transfers.h"
#include "engine/scheduler.h"
#include "tests/cache/token_memory.h"
#include "tests/sim/job_queue.h"
#include "tests/sim/model_disk.h"
#include "tests/sim/real_disk.h"
#include "tests/sim/seeds.h"
#include "tests/support/faulty_copies.h"
#include "tests/support/ticking_clock.h"

namespace prefixd::sim {

class Simulation {
 public:
  explicit Simulation(const Options& options);

  Seen Run();

 private:
  void Start();
  void Stop();
  KeyFunction Key() const;
  PrefixCache::Options CacheOptions();
  void Event();
  void Submit();
  void Cancel();
  void Launch();
  void Collect();
  void Compute(const PlannedChunk& chunk);
  void AfterPrompt(const Sequence& sequence);
  void End(RequestId id);
  void RunJob();
  void RunAllJobs();
  void Crash();
  void FinishScan();
  void Rest();
  void Check();
  void CheckKv(const Sequence& sequence);
  void CheckAtRest();
  void SetShares();
  void ChangeShares();
  void TellShares();
  void NoteTenants();
  uint64_t LostBlocks() const;
  uint32_t BlocksOf(uint64_t tenant, size_t at) const;
  void CheckTenants();
  bool Busy() const { return !scheduler_->queued().empty() || !scheduler_->running().empty(); }
  // Most requests are of tenant 0, which has no share.
  TokenId TenantOf(RequestId id) const { return static_cast<TokenId>(id % 5 < 3 ? 0 : id % 5 - 2); }
  bool IsBusy(uint64_t tenant) const;
  bool CopyFails(const Transfer& transfer);
  bool IsFinite();

  const Options options_;
  Prng random_;
  const uint64_t weak_keys_;  // keys have only so many values; 0: they are as in production
  const int block_tokens_;
  const uint32_t blocks_;
  const uint32_t host_blocks_;
  const bool disk_tier_;
  testing_support::TickingClock clock_{1};
  Faults faults_;
  std::shared_ptr<DropQueue> drops_;
  std::unique_ptr<SimDisk> disk_;
  // Of one process.
  std::unique_ptr<JobQueue> loads_, spills_, copies_;
  std::unique_ptr<TokenMemory> memory_;
  std::vector<std::byte> host_;
  std::unique_ptr<TierTransfers> tiers_;
  std::unique_ptr<testing_support::FaultyCopies> port_;  // of the cache
  std::unique_ptr<PrefixCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  StepBudget budget_;
  std::vector<PlannedChunk> plan_;  // launched and not collected
  std::set<RequestId> cancelled_;
  std::set<BlockKey> to_find_;  // records that the scan must find
  uint64_t bad_copies_ = 0, nonfinite_ = 0, bad_reads_before_ = 0, damaged_before_ = 0;
  // Of all.
  RequestId last_id_ = 0;
  uint64_t accepted_ = 0, ended_ = 0;
  std::vector<std::vector<TokenId>> past_;
  static constexpr uint64_t kTenants = 3;  // with a share, from tenant 1 on
  std::array<PrefixCache::TenantBlocks, kTenants> shares_{};
  uint32_t most_guaranteed_ = 0;  // blocks of the device, to all
  struct Had {
    bool idle = false;  // before the event
    std::array<uint32_t, kPoolTiers> blocks{};
  };
  std::array<Had, kTenants> had_{};
  std::array<uint64_t, kPoolTiers> evicted_before_{};
  uint64_t lost_before_ = 0;
  Seen seen_;
};

}  // namespace prefixd::sim
