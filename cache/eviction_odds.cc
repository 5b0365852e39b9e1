#include "cache/eviction_odds.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {

ReuseOdds::ReuseOdds(uint32_t capacity) : capacity_(capacity), ends_(capacity) {
  PREFIXD_CHECK(capacity > 0);
  worths_.fill(1);
}

void ReuseOdds::Forget(NodeId node) {
  if (node < groups_.size()) groups_[node] = kFar;
}

void ReuseOdds::NoteEnd(NodeId node, const NodeUse& use) {
  if (use.last_use == 0) return;
  newest_use_ = std::max(newest_use_, use.last_use);
  End& end = ends_[use.last_use % capacity_];
  if (use.last_use > end.last_use) {
    end = {.last_use = use.last_use, .depth = use.depth};
  } else if (use.last_use == end.last_use) {
    end.depth = std::max(end.depth, use.depth);
  }
  const uint8_t group = Group(node, use);
  if (node >= groups_.size()) groups_.resize(node + 1, kFar);
  groups_[node] = group;
}

std::optional<uint8_t> ReuseOdds::GroupOfKnownEnd(const NodeUse& use) const {
  const End& end = ends_[use.last_use % capacity_];
  if (use.last_use == 0 || end.last_use != use.last_use) return std::nullopt;
  if (newest_use_ - use.last_use >= capacity_) return std::nullopt;
  const uint32_t distance = std::min<uint32_t>(kFar, end.depth - std::min(end.depth, use.depth));
  const bool continued = use.request_class >= kRequestClasses / 2;
  return static_cast<uint8_t>(distance + (continued ? kGroups / 2 : 0));
}

uint8_t ReuseOdds::Group(NodeId node, const NodeUse& use) const {
  return GroupOfKnownEnd(use).value_or(node < groups_.size() ? groups_[node] : kFar);
}

bool ReuseOdds::Count(uint8_t group, bool used_again) {
  counts_.at(group).again += used_again ? 1 : 0;
  counts_.at(group).all += 1;
  ++counted_;
  if (counted_ % (4 * uint64_t{capacity_}) == 0) {
    for (Counts& counts : counts_) counts = {.again = counts.again / 2, .all = counts.all / 2};
  }
  if (counted_ % std::max(1u, capacity_ / 16) != 0) return false;
  Weigh();
  return true;
}

void ReuseOdds::Weigh() {
  Counts sum;
  for (const Counts& counts : counts_) sum = {.again = sum.again + counts.again, .all = sum.all + counts.all};
  const double average = sum.again / sum.all;
  if (average == 0) return worths_.fill(1);
  for (size_t group = 0; group < kGroups; ++group) {
    const Counts& counts = counts_[group];
    const double odds = (counts.again + kPrior * average) / (counts.all + kPrior);
    worths_[group] = std::max(kLeastWorth, odds / average);
  }
}

void ReuseOdds::CheckInvariants() const {
  double again = 0;
  for (const Counts& counts : counts_) again += counts.again;
  for (size_t group = 0; group < kGroups; ++group) {
    PREFIXD_CHECK(counts_[group].again <= counts_[group].all) << "group " << group;
    PREFIXD_CHECK(worths_[group] >= kLeastWorth) << "group " << group << " is worth " << worths_[group];
    PREFIXD_CHECK(again > 0 || worths_[group] == 1) << "group " << group << " is worth " << worths_[group];
  }
  for (size_t slot = 0; slot < ends_.size(); ++slot) {
    const uint64_t last_use = ends_[slot].last_use;
    PREFIXD_CHECK(last_use == 0 || last_use % capacity_ == slot) << last_use << " is in slot " << slot;
    PREFIXD_CHECK(last_use <= newest_use_) << last_use << " > " << newest_use_;
  }
}

}  // namespace prefixd
