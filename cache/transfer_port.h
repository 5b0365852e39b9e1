// DeviceCopier and TransferPort: the interfaces through which the cache moves KV. The cache decides what is
// moved; the owner of the memory moves it. Engine thread only.
//
// DeviceCopier copies inside the device pool. A copy takes its place in the order of the device's operations:
// everything that the device is told later sees its result. So the target can be used at once, and nobody
// waits. A copy that fails fails the step that follows it; see PrefixCache::EndStep.
//
// TransferPort moves KV between tiers while the engine goes on, and knows what lies on the disk tier. Start
// returns at once. A later Poll reports every started transfer exactly once, in any order. Until then the
// cache changes neither its source nor its target. A transfer from or to the device takes its place after all
// copies and steps that the device was told of before Start. The port wakes the engine when a transfer ends;
// see Engine::Create.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/latency_histogram.h"
#include "base/types.h"
#include "cache/block_pool.h"
#include "cache/drop_queue.h"
#include "cache/tier.h"
#include "hashing/block_key.h"
#include "storage/block_store.h"

namespace prefixd {

class DeviceCopier {
 public:
  virtual ~DeviceCopier() = default;
  // Copies the whole block `from` to `to`.
  virtual void CopyBlock(BlockId from, BlockId to) = 0;
};

// A transfer of one block: from the device to a lower tier, from the host to the disk or the remote tier, or
// from a lower tier to the device.
struct Transfer {
  uint64_t id = 0;
  Tier from = Tier::kDevice;
  Tier to = Tier::kHost;
  BlockId from_block = kNoBlock;  // kNoBlock: a record
  BlockId to_block = kNoBlock;    // kNoBlock: a record
  // The identity of the block. Stores find and write its record by it.
  BlockKey root;
  BlockKey key;
  BlockKey parent;
  uint64_t check = 0;               // prefix check
  float cost = 1;                   // see NodeUse
  bool used_again = false;          // see StoreEntry; false for what another daemon waits for
  std::span<const TokenId> tokens;  // empty when the cache does not know them; valid during Start only
};

enum class TransferResult : uint8_t {
  kOk,
  kFailed,   // the medium failed, or was too full
  kMissing,  // the source has no such record any more
  kCorrupt,  // the record was damaged, or was another block's; the port has dropped it
};
inline constexpr int kTransferResults = 4;

struct FinishedTransfer {
  uint64_t id = 0;
  TransferResult result = TransferResult::kOk;
  std::vector<TokenId> tokens = {};  // those of the record, for a successful transfer from the disk tier
  // What it took, for estimates of the rates of the tiers. All are 0 for a transfer that was refused (kBusy).
  uint64_t bytes = 0;         // moved, as stored: of a compressed record the compressed bytes; 0 unless kOk
  double queued_seconds = 0;  // from Start until a worker took it up
  double seconds = 0;         // from then until it had ended, well or not
  double ended = 0;           // when, in seconds of the engine's clock
  double work_seconds = 0;    // for which the worker had a processor; 0: not known
};

// What went wrong with a tier, apart from the content of a record. prefixd_tier_errors_total has a label for
// each, in the same order.
enum class TierError : uint8_t {
  kRead,     // the medium could not be read
  kWrite,    // the medium could not be written
  kFull,     // there was no room
  kMissing,  // a record was not where it should be
  kBusy,     // too much was under way, or the medium had failed a moment ago, or the transfer was withdrawn
};
inline constexpr int kTierErrors = 5;

// Why KV was not used, or not spilled. prefixd_verify_failures_total has a label for each, in the same order;
// the last one, `store`, counts damage that the store found by itself.
enum class VerifyFailure : uint8_t {
  kTokens,       // the record is another block's
  kChecksum,     // it was damaged
  kFingerprint,  // it is of another model
  kShort,        // bytes of it are missing
  kDecompress,   // it does not decompress
  kNonfinite,    // the KV has a NaN or an infinity; it is not spilled
  kStore,        // the store lost it
};
inline constexpr int kVerifyFailures = 7;

// Counters, which only grow. Arrays of tiers are indexed by Tier.
struct TransferStats {
  std::array<uint64_t, kTiers> read_bytes{}, written_bytes{};  // of transfers that ended well, as stored
  std::array<std::array<uint64_t, kTierErrors>, kTiers> errors{};
  std::array<uint64_t, kVerifyFailures> verify_failures{};
  LatencyHistogram load_seconds{kTransferBounds};  // from Start to the end, of transfers to the device
  LatencyHistogram record_ages{kAgeBounds};        // from the writing of a record of the disk to its reading
  // From Start until a worker took up a transfer from or to the disk.
  LatencyHistogram store_queue_seconds{kTransferBounds};
};

// For how long the disk keeps a record, see PrefixUse.
struct DiskRetention {
  double left = 0;     // seconds from now
  double seconds = 0;  // from a use on
  uint64_t owner = 0;
};

// What the cache wants to know of the remote tier.
struct RemoteQuestion {
  std::span<const BlockKey> keys;  // of a sequence, from its first block on
  size_t first = 0;                // it asks for those from this one on; < keys.size()
  double seconds = 0;              // to compute these; 0: not known
  uint64_t asker = 0;              // who computes what the tier lacks, and asks; never 0
};
enum class RemoteAnswer : uint8_t {
  kKnown,     // OnRemote says all that there is to know
  kAsked,     // OnRemote may know more soon
  kComputed,  // another daemon computes the next block that is missing, and will write it there
};
enum class RemoteEnd : uint8_t {
  kOver,          // the asker has computed what it has asked for, or will not
  kWaitedInVain,  // another daemon was to compute it, and did not in time
};
// What is computed for other daemons is told to them in segments of so many blocks of the sequence.
inline constexpr size_t kRemoteSegment = 64;
inline constexpr size_t kMostRemoteAsked = 4096;  // blocks of a question

class TransferPort {
 public:
  virtual ~TransferPort() = default;
  // Whether the disk tier has a record under this key, as far as is known now. The record may be another
  // block's, and it may be gone when a transfer reads it. Once Poll has reported that a transfer from the
  // disk ended as kMissing or kCorrupt, there is none until one is written. Returns false for all keys while
  // the disk does not read, so the answer may change by time alone. Reads nothing from the disk.
  virtual bool OnDisk(const BlockKey& key) const = 0;
  // As OnDisk, whether or not the disk reads now.
  virtual bool HasRecord(const BlockKey& key) const { return OnDisk(key); }
  // Keeps the record under this key, or keeps it longer. Returns false when the disk has no such record, or
  // no room for what is kept.
  virtual bool KeepOnDisk(const BlockKey& /*key*/, const DiskRetention& /*retention*/) { return false; }
  // Whether it has room to keep another block for the owner.
  virtual bool MayKeepOnDisk(uint64_t /*owner*/) const { return false; }
  virtual std::optional<DiskRetention> KeptOnDisk(const BlockKey& /*key*/) const { return std::nullopt; }
  // Whether the remote tier has a record under this key, as far as is known without asking it. Otherwise as
  // OnDisk.
  virtual bool OnRemote(const BlockKey& /*key*/) const { return false; }
  // Asks the remote tier which of the blocks it has, up to the first one that it has not; of what is known
  // already it asks nothing. What computing takes long, the asker may then compute for other daemons as well,
  // until EndRemote. The engine is woken when the answer would be another one. Never waits.
  virtual RemoteAnswer FindOnRemote(const RemoteQuestion& /*question*/) { return RemoteAnswer::kKnown; }
  // Whether what the asker computes is to be written to the remote tier at once: others wait for it, or all
  // is. The engine is woken when it becomes true. For an asker of 0 too.
  virtual bool IsWantedOnRemote(uint64_t /*asker*/) const { return false; }
  // The asker asks no more; `computed` blocks of its sequence exist now.
  virtual void EndRemote(uint64_t /*asker*/, size_t /*computed*/, RemoteEnd /*end*/) {}
  // Drops the records under this key, which the cache found to be another block's. OnDisk and OnRemote return
  // false from now on, until a record is written.
  virtual void Drop(const BlockKey& key) = 0;
  virtual void Start(const Transfer& transfer) = 0;
  // Ends those transfers from and to the disk that nobody works on yet: the next Poll reports them as
  // refused. For a time of need, when the disk hangs and they hold blocks of the device.
  virtual void Withdraw() {}
  // Appends the transfers that have ended since the last call. After any other result than kOk the content
  // of a target block is undefined.
  virtual void Poll(std::vector<FinishedTransfer>* finished) = 0;
  // Appends what the disk tier has dropped by itself since the last call, in order. When OnDisk has returned
  // false for a key because of a drop, the next call brings it. Returns false when some were forgotten.
  virtual bool TakeDrops(std::vector<RecordDrop>* drops) = 0;
  virtual const TransferStats& stats() const = 0;
};

}  // namespace prefixd
