// WarmStart: loads the blocks that a fleet uses most into the cache of a daemon that starts, before it is
// ready. What they are, the hot list beside their records says (storage/hot_list.h). They come through the
// load path of requests: leases whose tokens are those of the records (daemon/warm_plan.h). So each block is
// verified as every load is, and routers hear of it as of every block that comes to the device.
//
// Threads: Run is called once, by the thread that is the engine thread until it returns. Any thread may call
// the other members.
//
// Invariants
//   1. It loads no more than `bytes` bytes of records, `most_blocks` blocks, and the chains that begin within
//      `seconds` seconds. After them it returns when the call of the store that is under way has ended, which
//      has a time of its own (storage/redis_store.h).
//   2. Whatever the store says or does, Run returns, and what it did not load is a miss.
//   3. When Run has returned, each block that was tried counts as one result.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/remote_tier.h"
#include "daemon/warm_plan.h"
#include "engine/engine.h"

namespace prefixd {

// What became of a block of the hot list. prefixd_warm_start_blocks has a label for each, in the same order.
enum class WarmBlock : uint8_t {
  kLoaded,
  kMissing,  // the store has no record of it, or of one before it
  kDamaged,  // the record was another block's, or none
  kFailed,   // the load failed
  kLate,     // the time was up before
};
inline constexpr int kWarmBlocks = 5;

struct WarmStartStats {
  enum class Phase : uint8_t { kOff, kWaiting, kRuns, kDone } phase = Phase::kOff;
  uint64_t tried = 0;  // blocks
  std::array<uint64_t, kWarmBlocks> blocks{};
  uint64_t bytes = 0;   // of records that were read
  double seconds = 0;   // that it took
  std::string trouble;  // why it has loaded less than it could; empty: nothing

  uint64_t loaded() const { return blocks[static_cast<size_t>(WarmBlock::kLoaded)]; }
  // For /ready.
  std::string Check() const;
};

class WarmStart {
 public:
  struct Options {
    uint64_t bytes = 0;  // of records; 0: nothing is loaded
    double seconds = 0;
    uint64_t record_bytes = 0;  // of the largest record
    uint64_t most_blocks = 0;   // as many as the device cache has room for
    WarmPlan::Options plan;
  };
  // `on`: whether there will be a Run.
  WarmStart(const Clock* clock, bool on);

  void Run(const Options& options, Engine* engine, RemoteTier* store);
  WarmStartStats stats() const;

 private:
  using Phase = WarmStartStats::Phase;
  // Adds the hottest blocks to the plan. Returns how many of them it has looked at.
  size_t ReadHeads(const Options& options, RemoteTier* store, WarmPlan* plan);
  void Load(Engine* engine, WarmPlan* plan);
  bool IsLate() const { return clock_.NowSeconds() >= deadline_; }
  void SetTrouble(std::string why);
  void Count(WarmBlock result, uint64_t blocks = 1);

  const Clock& clock_;
  double deadline_ = 0;
  mutable Mutex mutex_;
  WarmStartStats stats_ GUARDED_BY(mutex_);
};

}  // namespace prefixd
