#include "storage/record_index.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace prefixd {

size_t RecordIndex::Probe(const Shard& shard, const BlockKey& key) {
  const size_t mask = shard.slots.size() - 1;
  size_t slot = key.low & mask;
  while (shard.slots[slot].location.segment != 0 && shard.slots[slot].key != key) slot = (slot + 1) & mask;
  return slot;
}

const RecordLocation* RecordIndex::Find(const BlockKey& key) const {
  const Shard& shard = ShardOf(key);
  if (shard.slots.empty()) return nullptr;
  const Slot& slot = shard.slots[Probe(shard, key)];
  return slot.location.segment == 0 ? nullptr : &slot.location;
}

RecordLocation* RecordIndex::Find(const BlockKey& key) {
  return const_cast<RecordLocation*>(std::as_const(*this).Find(key));
}

void RecordIndex::Insert(const BlockKey& key, const RecordLocation& location) {
  PREFIXD_CHECK(location.segment != 0) << "segment 0 marks a free slot";
  Shard& shard = ShardOf(key);
  if ((shard.taken + 1) * 8 > shard.slots.size() * 7) Grow(&shard);
  Slot& slot = shard.slots[Probe(shard, key)];
  if (slot.location.segment == 0) {
    ++shard.taken;
    ++size_;
  }
  slot = {key, location};
}

void RecordIndex::Grow(Shard* shard) {
  std::vector<Slot> before(shard->slots.empty() ? kFirstSlots : shard->slots.size() * 2);
  before.swap(shard->slots);
  slots_ += shard->slots.size() - before.size();
  most_moved_ = std::max(most_moved_, before.size());
  for (const Slot& slot : before)
    if (slot.location.segment != 0) shard->slots[Probe(*shard, slot.key)] = slot;
}

void RecordIndex::Erase(const BlockKey& key) {
  Shard& shard = ShardOf(key);
  if (shard.slots.empty()) return;
  size_t hole = Probe(shard, key);
  if (shard.slots[hole].location.segment == 0) return;
  --shard.taken;
  --size_;
  // Move back the slots that a search would no longer reach (Knuth, The Art of Computer Programming, volume
  // 3, algorithm 6.4R).
  const size_t mask = shard.slots.size() - 1;
  for (size_t next = (hole + 1) & mask; shard.slots[next].location.segment != 0; next = (next + 1) & mask) {
    const size_t home = shard.slots[next].key.low & mask;
    if (((next - home) & mask) < ((next - hole) & mask)) continue;  // its home lies behind the hole
    shard.slots[hole] = shard.slots[next];
    hole = next;
  }
  shard.slots[hole] = {};
}

void RecordIndex::CheckInvariants() const {
  size_t total = 0;
  size_t slots = 0;
  for (size_t i = 0; i < kShards; ++i) {
    const Shard& shard = shards_[i];
    size_t taken = 0;
    for (size_t slot = 0; slot < shard.slots.size(); ++slot) {
      if (shard.slots[slot].location.segment == 0) continue;
      ++taken;
      PREFIXD_CHECK(Probe(shard, shard.slots[slot].key) == slot) << "a search does not reach slot " << slot;
      PREFIXD_CHECK(shard.slots[slot].key.high % kShards == i);
    }
    PREFIXD_CHECK(taken == shard.taken && taken * 8 <= shard.slots.size() * 7) << taken;
    total += taken;
    slots += shard.slots.size();
  }
  PREFIXD_CHECK(total == size_) << total << " " << size_;
  PREFIXD_CHECK(slots == slots_) << slots << " " << slots_;
}

}  // namespace prefixd
