// BlockStore: the port behind which a lower tier keeps its records: bytes under a block key. What a record
// means is record.h's business; a store never looks inside.
//
// Calls are synchronous and may block on a disk, so the engine thread never makes them: store workers do
// (AsyncStore). Any member may be called from any thread, at once with any other; calls on one key take
// effect in some order.
//
// What every store promises (tests/storage/block_store_contract.h proves it of each)
//   1. Get gives the record of the last successful Put on its key, whole, or kNotFound: never a part of one,
//      nor of two.
//   2. bytes() <= capacity() at every instant. A Put that does not fit is refused with kResourceExhausted and
//      changes nothing.
//      A store drops nothing on its own: who needs room deletes.
//   3. A Put or Delete that has returned is seen by every later call. It survives the end of the process or
//      the machine only after a Sync that began later has returned, and only in stores that are durable at
//      all; until then a crash may forget it, but leaves no damaged record behind as if it were whole.
//   4. Any failing call may be repeated. Trouble of the medium is kIo, never an abort.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "hashing/block_key.h"

namespace prefixd {

class BlockStore {
 public:
  virtual ~BlockStore() = default;

  virtual Result<std::string> Get(const BlockKey& key) = 0;
  // Replaces what was there.
  virtual Status Put(const BlockKey& key, std::string_view record) = 0;
  // Ok also when there was nothing.
  virtual Status Delete(const BlockKey& key) = 0;
  virtual Status Sync() = 0;

  // What the records take of the capacity, with their keys and the store's own overhead.
  virtual uint64_t bytes() const = 0;
  virtual uint64_t capacity() const = 0;
};

}  // namespace prefixd
