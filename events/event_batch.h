// EventBatch: the payload of one message of KV events, as vLLM 0.32 writes it: msgpack of the array
// [seconds, [event...], data_parallel_rank], in which every event is a map with its type first.
//
//   BlockStored       block_hashes, parent_block_hash, token_ids, block_size, lora_id, medium, lora_name
//                     and extra_keys, where one of the blocks has some
//   BlockRemoved      block_hashes, medium
//   AllBlocksCleared
//
// A hash is the low half of the block's key, unsigned. Media are GPU for the device tier, whatever the
// backend, CPU for the host tier, DISK for the disk tier: names that routers know. The extra key of the first
// block of a namespace other than `shared_root` is the hex of the namespace's root key. Routers drop a whole
// batch for a field that they do not know, so no field is added.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cache/tier.h"
#include "events/block_index.h"
#include "hashing/block_key.h"

namespace prefixd {

std::string_view MediumOf(Tier tier);

class EventBatch {
 public:
  // One event; the blocks are a run, each the parent of the next.
  void AddStored(std::span<const BlockIndex::Entry* const> run, Tier tier, const BlockKey& shared_root);
  void AddRemoved(std::span<const BlockKey> keys, Tier tier);
  void AddCleared();

  size_t events() const { return events_; }
  size_t bytes() const { return body_.size(); }
  // The payload; `seconds` since 1970. The batch is empty afterwards.
  std::string Finish(double seconds);

 private:
  std::string body_;  // the events, one after the other
  size_t events_ = 0;
};

}  // namespace prefixd
