// BlockStore: the interface of the storage of a lower cache tier, such as RAM or disk. It stores records,
// which are byte strings, under block keys. record.h defines the content of a record; a store does not read
// it, and knows of it only the length of the header, which Scan passes on.
//
// Calls are synchronous and may block on a disk, so the engine thread leaves all but Contains to workers
// (cache/tier_transfers.h). Any thread may call any member at any time. Concurrent calls on one key take
// effect one after the other, in any order.
//
// Every implementation guarantees (tests/storage/block_store_contract.h tests each implementation):
//   1. Get returns the whole record of the last successful Put on its key. It returns kNotFound when there
//      was no Put, or a Delete or a drop since. It never returns a part of a record or a mixture of two.
//   2. bytes() <= capacity() at every moment. A Put makes room by dropping records that are worth less,
//      records of other keys; each drop is told to the DropListener, before the key can be put again. A Put
//      of a record larger than max_record_bytes() fails with kResourceExhausted and changes nothing.
//      A store that other processes share leaves both to its server: it learns of a drop, and tells it, when
//      it looks for the record (redis_store.h).
//   3. Every call sees the effect of each Put and Delete that returned before it. The effect survives the end
//      of the process or a crash of the machine only after a later Sync has returned ok, and only in stores
//      that are durable. Until then a crash may lose the effect, and with it the record that a Put replaces,
//      but Get never returns a damaged record after it.
//   4. A call that failed may be repeated. An error of the medium is kIo; it never aborts the process.
//      Records that are lost by it are told to the DropListener.
//   5. Scan visits a key at most once. It visits every key that has a record during the whole scan, also when
//      the record is replaced or moved meanwhile. A key whose record is put or deleted during the scan may be
//      visited or not; no other key is. The head belongs to one record that the key had during the scan.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "hashing/block_key.h"
#include "storage/record.h"
#include "storage/segment_directory.h"

namespace prefixd {

struct StoreEntry {
  BlockKey key;
  std::string record;
  // What it costs to compute the content of the record again, in any unit that is the same for all records.
  // Greater than 0.
  double cost = 1;
  // Whether requests have used or computed it more than once, or asked to keep it: so others may want it.
  bool used_again = false;
};

// Why a store dropped a record without a Delete.
enum class DropReason : uint8_t {
  kEvicted,  // to make room
  kExpired,  // it had lain longer than allowed
  kLost,     // the medium failed before it was durable, or it was damaged
};

// Called with the store's lock held, on any thread: it must be quick and must not call the store.
using DropListener = std::function<void(const BlockKey& key, DropReason reason)>;

class BlockStore {
 public:
  virtual ~BlockStore() = default;

  virtual Result<std::string> Get(const BlockKey& key) = 0;
  // Whether Get would find a record, as far as that is known without the medium. Reads nothing.
  virtual bool Contains(const BlockKey& key) const = 0;
  // Replaces the previous records of the keys. After an error, entries at the end of the batch were not put.
  virtual Status PutBatch(std::vector<StoreEntry> batch) = 0;
  Status Put(const BlockKey& key, std::string_view record) {
    std::vector<StoreEntry> batch;
    batch.push_back({.key = key, .record = std::string(record)});
    return PutBatch(std::move(batch));
  }
  // Keeps the record of the key until a time, or longer than before: a store that makes room drops others
  // first. Returns false when it does not: there is no record, or too much is kept. A store need not keep
  // anything. These three read and write nothing, and never wait long.
  virtual bool Keep(const BlockKey& /*key*/, const RecordRetention& /*retention*/) { return false; }
  // Whether it would keep another record of `bytes` bytes for the owner.
  virtual bool MayKeep(uint64_t /*owner*/, uint64_t /*bytes*/) const { return false; }
  virtual std::optional<RecordRetention> KeptUntil(const BlockKey& /*key*/) const { return std::nullopt; }
  // Returns ok also when the key has no record.
  virtual Status Delete(const BlockKey& key) = 0;
  virtual Status Sync() = 0;

  // Called with a key and the first kRecordHeaderBytes bytes of its record, or the whole of a shorter record.
  // Returns whether the scan goes on. `head` is valid until it returns.
  using Visitor = std::function<bool(const BlockKey& key, std::string_view head)>;
  // Calls `visitor` for the records one after the other, in any order, on the calling thread. It reads the
  // heads alone from the medium. The visitor may call the other members of the store, such as Delete. Returns
  // ok also when the visitor ended the scan.
  virtual Status Scan(const Visitor& visitor) = 0;

  // Returns the bytes of the capacity that are in use, by records, keys and the store's own overhead.
  virtual uint64_t bytes() const = 0;
  virtual uint64_t capacity() const = 0;
  virtual uint64_t max_record_bytes() const = 0;
};

}  // namespace prefixd
