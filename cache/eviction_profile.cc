#include "cache/eviction_profile.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {

void ReuseProfile::Counts::Add(uint64_t segment, int delta) {
  const uint32_t slot = static_cast<uint32_t>(segment % kSegments);
  counts_[slot] += static_cast<uint32_t>(delta);
  for (uint32_t i = slot + 1; i <= kSegments; i += i & (~i + 1)) tree_[i] += static_cast<uint32_t>(delta);
}

uint32_t ReuseProfile::Counts::SumOfFirst(uint32_t slots) const {
  uint32_t sum = 0;
  for (uint32_t i = slots; i > 0; i -= i & (~i + 1)) sum += tree_[i];
  return sum;
}

uint32_t ReuseProfile::Counts::Sum(uint64_t from, uint64_t to) const {
  const uint32_t first = static_cast<uint32_t>(from % kSegments);
  const uint32_t last = static_cast<uint32_t>(to % kSegments);
  const uint32_t difference = SumOfFirst(last + 1) - SumOfFirst(first);
  return first <= last ? difference : difference + SumOfFirst(kSegments);
}

ReuseProfile::ReuseProfile(uint32_t capacity)
    : capacity_(capacity),
      width_((capacity + kShares - 1) / kShares),
      shares_(width_ == 0 ? 0 : capacity / width_) {
  PREFIXD_CHECK(capacity > 0);
}

void ReuseProfile::UseFirst(NodeId node) {
  MoveToNewest(node, kOnce);
  EndUse();
}

bool ReuseProfile::UseAgain(NodeId node) {
  if (node < records_.size() && Remembers(records_[node])) {
    const auto [once, again] = Distances(records_[node]);
    if (once + again <= capacity_ / 16) {
      MoveToNewest(node, SetOf(records_[node]));
      return false;
    }
    Count(records_[node]);
  }
  MoveToNewest(node, kAgain);
  EndUse();
  return true;
}

bool ReuseProfile::UsedOnce(NodeId node) const {
  return node < records_.size() && Remembers(records_[node]) && SetOf(records_[node]) == kOnce;
}

std::array<uint32_t, 2> ReuseProfile::Distances(Record record) const {
  // The segment of the node counts in full: its place within the segment is not known.
  return {counts_[kOnce].Sum(SegmentOf(record), newest_), counts_[kAgain].Sum(SegmentOf(record), newest_)};
}

void ReuseProfile::Count(Record record) {
  const std::array<uint32_t, 2> distances = Distances(record);
  if (distances[0] + distances[1] <= capacity_) ++undivided_hits_;
  const Set set = SetOf(record);
  const uint32_t shares = (distances[set] + width_ - 1) / width_;
  if (shares <= shares_) ++hits_[set][shares];
}

void ReuseProfile::MoveToNewest(NodeId node, Set set) {
  if (node >= records_.size()) records_.resize(node + 1);
  Record& record = records_[node];
  if (Remembers(record)) counts_[SetOf(record)].Add(SegmentOf(record), -1);
  if (counts_[kOnce].at(newest_) + counts_[kAgain].at(newest_) >= width_) {
    ++newest_;
    // The slot of the ring has belonged to a segment that is now too old.
    for (Counts& counts : counts_) counts.Add(newest_, -static_cast<int>(counts.at(newest_)));
  }
  counts_[set].Add(newest_, 1);
  record = 1 + 2 * newest_ + set;
}

void ReuseProfile::EndUse() {
  ++uses_;
  if (uses_ % (4 * uint64_t{capacity_}) == 0) {
    for (auto& hits : hits_) {
      for (uint64_t& count : hits) count /= 2;
    }
    undivided_hits_ /= 2;
  }
  if (uses_ % std::max(1u, capacity_ / 16) == 0) Choose();
}

void ReuseProfile::Choose() {
  uint64_t hits = 0;  // of the division with `share` shares for the nodes used once
  for (uint32_t share = 0; share <= shares_; ++share) hits += hits_[kAgain][share];
  uint64_t best_hits = 0;
  uint32_t best_share = 0;
  for (uint32_t share = 0; share <= shares_; ++share) {
    hits += hits_[kOnce][share];
    if (hits > best_hits) {
      best_hits = hits;
      best_share = share;
    }
    hits -= hits_[kAgain][shares_ - share];
  }
  // Within one percent the counts do not tell which is better, and the plain order errs less.
  if (100 * best_hits > 101 * undivided_hits_) {
    probation_blocks_ = best_share * width_;
  } else {
    probation_blocks_.reset();
  }
}

void ReuseProfile::CheckInvariants() const {
  std::array<std::vector<uint32_t>, 2> nodes = {std::vector<uint32_t>(kSegments),
                                                std::vector<uint32_t>(kSegments)};
  for (const Record record : records_) {
    if (!Remembers(record)) continue;
    PREFIXD_CHECK(SegmentOf(record) <= newest_) << SegmentOf(record) << " > " << newest_;
    ++nodes[SetOf(record)][SegmentOf(record) % kSegments];
  }
  for (const Set set : {kOnce, kAgain}) {
    uint32_t sum = 0;
    for (uint32_t slot = 0; slot < kSegments; ++slot) {
      PREFIXD_CHECK(counts_[set].at(slot) == nodes[set][slot])
          << "slot " << slot << " has " << nodes[set][slot] << " nodes and counts " << counts_[set].at(slot);
      sum += nodes[set][slot];
      PREFIXD_CHECK(counts_[set].Sum(0, slot) == sum) << "up to slot " << slot;
    }
  }
  PREFIXD_CHECK(probation_blocks_.value_or(0) <= capacity_) << *probation_blocks_ << " > " << capacity_;
}

}  // namespace prefixd
