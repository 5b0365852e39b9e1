#include "storage/record_owners.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "base/check.h"
#include "storage/record.h"

namespace prefixd {

uint64_t RecordOwners::OwnerOf(std::string_view head) {
  const DecodedHead decoded = DecodeRecordHead(std::as_bytes(std::span(head.substr(0, kRecordHeaderBytes))));
  return decoded.defect == RecordDefect::kNone ? decoded.head.root.high : 0;
}

uint32_t RecordOwners::NumberOf(uint64_t owner) {
  const auto [it, is_new] = numbers_.emplace(owner, kNobody);
  if (!is_new) return it->second;
  if (!unused_.empty()) {
    it->second = unused_.back();
    unused_.pop_back();
  } else if (owners_.size() <= kMostNumber) {
    it->second = static_cast<uint32_t>(owners_.size());
    owners_.emplace_back();
  } else {
    numbers_.erase(it);
    return kNobody;
  }
  owners_[it->second] = {.share = {.owner = owner}};
  return it->second;
}

void RecordOwners::ReleaseIfUnused(uint32_t number) {
  Owner& owner = owners_[number];
  if (owner.records > 0 || owner.has_share) return;
  numbers_.erase(owner.share.owner);
  owner = {};
  unused_.push_back(number);
}

void RecordOwners::SetShares(const std::vector<OwnerShare>& shares) {
  std::vector<uint32_t> before;
  for (uint32_t number = 1; number < owners_.size(); ++number) {
    if (!owners_[number].has_share) continue;
    owners_[number].share = {.owner = owners_[number].share.owner};
    owners_[number].has_share = false;
    before.push_back(number);
  }
  for (const OwnerShare& share : shares) {
    PREFIXD_CHECK(share.weight > 0 && share.guaranteed <= share.most) << share.weight;
    const uint32_t number = NumberOf(share.owner);
    if (number == kNobody) continue;
    PREFIXD_CHECK(!owners_[number].has_share) << "an owner comes twice";
    owners_[number].share = share;
    owners_[number].has_share = true;
  }
  for (const uint32_t number : before) ReleaseIfUnused(number);
  above_most_.clear();
  for (uint32_t number = 1; number < owners_.size(); ++number) NoteMost(number);
}

void RecordOwners::NoteMost(uint32_t number) {
  if (owners_[number].bytes > owners_[number].share.most) {
    above_most_.insert(number);
  } else if (!above_most_.empty()) {
    above_most_.erase(number);
  }
}

uint32_t RecordOwners::Add(uint64_t owner, uint64_t bytes, double tick) {
  const uint32_t number = owner == 0 ? kNobody : NumberOf(owner);
  if (number == kNobody) return kNobody;
  owners_[number].bytes += bytes;
  ++owners_[number].records;
  Use(number, tick);
  NoteMost(number);
  return number;
}

void RecordOwners::Remove(uint32_t number, uint64_t bytes) {
  if (number == kNobody) return;
  Owner& owner = owners_.at(number);
  PREFIXD_CHECK(owner.records > 0 && owner.bytes >= bytes) << owner.bytes << " of " << owner.records;
  owner.bytes -= bytes;
  --owner.records;
  NoteMost(number);
  ReleaseIfUnused(number);
}

void RecordOwners::Use(uint32_t number, double tick) {
  if (number != kNobody) owners_[number].last_use = std::max(owners_[number].last_use, tick);
}

uint64_t RecordOwners::BytesOf(uint64_t owner) const {
  const auto it = numbers_.find(owner);
  return it == numbers_.end() ? 0 : owners_[it->second].bytes;
}

std::vector<uint64_t> RecordOwners::Spare(const std::vector<Owner>& owners, double tick, uint64_t most_held) {
  const auto is_active = [&](const Owner& owner) {
    return owner.records > 0 && tick - owner.last_use <= kIdleTicks;
  };
  uint64_t guaranteed = 0;
  double weights = 0;
  size_t active = 0;
  for (const Owner& owner : owners) {
    guaranteed += owner.share.guaranteed;
    if (!is_active(owner)) continue;
    ++active;
    weights += owner.share.weight;
  }
  // One that is alone competes with nobody.
  const double divided = active < 2 ? 0 : static_cast<double>(most_held - std::min(most_held, guaranteed));
  // Of a small store, overhead may leave less than was said.
  const double scale =
      std::min(1.0, static_cast<double>(most_held) / static_cast<double>(std::max<uint64_t>(guaranteed, 1)));
  std::vector<uint64_t> spare;
  for (const Owner& owner : owners) {
    double held = static_cast<double>(owner.share.guaranteed) * scale;
    if (is_active(owner)) held += divided * owner.share.weight / weights;
    const auto bytes = static_cast<uint64_t>(std::ceil(held));
    spare.push_back(bytes == 0 ? kAll : owner.bytes - std::min(owner.bytes, bytes));
  }
  return spare;
}

void RecordOwners::CheckInvariants() const {
  PREFIXD_CHECK(numbers_.size() + unused_.size() + 1 == owners_.size()) << owners_.size();
  for (const auto& [owner, number] : numbers_) {
    const Owner& known = owners_.at(number);
    PREFIXD_CHECK(known.share.owner == owner && (known.records > 0 || known.has_share)) << number;
    PREFIXD_CHECK(above_most_.contains(number) == (known.bytes > known.share.most)) << number;
  }
}

}  // namespace prefixd
