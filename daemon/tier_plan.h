// TierPlan: the lower tiers of a daemon, derived from its options before the model is loaded.
//
// Threads: the main thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "cache/load_planner.h"
#include "daemon/options.h"
#include "daemon/sizing.h"
#include "kernels/kv_layout.h"
#include "storage/payload_codec.h"
#include "storage/redis_address.h"
#include "storage/tls_client.h"

namespace prefixd {

struct DiskPlan {
  bool on = false;
  std::string dir;
  uint64_t capacity = 0;  // physical bytes
  // About as many records as fit, uncompressed; 0 without a disk tier.
  uint64_t Blocks(const KvLayout& layout) const { return capacity / layout.BlockBytes(); }
  std::string capacity_source;  // "option disk-cache", "a tenth of the 57 GiB that were free at start"
  bool write_through = false;
  int64_t max_age_seconds = 0;  // 0: none
  int retained_percent = 0;     // of the capacity, see DiskStoreOptions
  CodecChoice codec;
};

struct RemotePlan {
  bool on = false;
  RedisAddress address;
  std::shared_ptr<const TlsClient> tls;  // of an address with TLS
  uint64_t write_rate = 0;               // bytes per second
  int64_t max_age_seconds = 0;           // 0: none
  bool write_through = false;
  double lease_seconds = 0;  // see RemoteLeases
  uint64_t warm_bytes = 0;   // of the warm start; 0: there is none, and no hot list
  int64_t warm_seconds = 0;
  CodecChoice codec;
};

struct TierPlan {
  uint32_t host_blocks = 0;
  DiskPlan disk;
  RemotePlan remote;
  LoadPolicy load_policy = LoadPolicy::kAuto;
  std::vector<std::string> warnings;  // what the operator should look at, though the daemon can start
};

// kInvalidArgument, with the name of the option: the options contradict each other or the size of a block, or
// the directory is none, may not be written, has other files, or its file system cannot be asked. Creates
// nothing. A directory that another process uses is a warning: it may have ended when the store is opened.
Result<TierPlan> MakeTierPlan(const Options& options, const KvLayout& layout);

// The largest record of a block.
uint64_t RecordBytes(const KvLayout& layout);

// Threads that move KV: those that load from the disk, one that spills to it, and those that copy between the
// device and the host. The remote cache has as many that load and spill.
inline constexpr int kLoadThreads = 4, kSpillThreads = 1, kCopyThreads = 2;
// How many losses of blocks can be explained: so many that a tier may turn over a few times, and at most so
// many that their memory, 32 MiB, does not matter.
uint64_t RememberedLosses(const TierPlan& plan, const KvLayout& layout, uint32_t blocks);

// The parts of the memory plan that the tiers add, but for the books of the cache.
MemoryPlan TierMemory(const TierPlan& plan, const KvLayout& layout);

}  // namespace prefixd
