#include "cache/tenant_eviction.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace prefixd {

void TenantEviction::SetShares(const std::vector<BlockShare>& shares) {
  PREFIXD_CHECK(uses_.empty()) << uses_.size() << " candidates";
  tenants_.clear();
  changed_.clear();
  above_most_.clear();
  held_ = 0;
  for (const BlockShare& share : shares) {
    PREFIXD_CHECK(share.guaranteed <= share.most && share.weight > 0)
        << share.guaranteed << " of " << share.most << ", " << share.weight;
    tenants_.push_back({.share = share, .last_use = inserted_});
  }
  parts_changed_ = true;
}

void TenantEviction::NoteUse(uint32_t tenant) {
  if (tenants_.empty()) return;
  Tenant& used = tenant == 0 ? others_ : tenants_.at(tenant - 1);
  used.last_use = inserted_;
  parts_changed_ = parts_changed_ || !used.is_active;
}

void TenantEviction::DivideParts() {
  parts_changed_ = false;
  divide_parts_at_ = inserted_ + std::max<uint64_t>(capacity_ / 2, 1);
  others_.is_active = IsActive(others_);
  uint64_t guaranteed = 0;
  size_t active = others_.is_active ? 1 : 0;
  double weights = others_.is_active ? others_.share.weight : 0;
  for (Tenant& tenant : tenants_) {
    tenant.is_active = tenant.blocks > 0 && IsActive(tenant);
    guaranteed += tenant.share.guaranteed;
    if (!tenant.is_active) continue;
    ++active;
    weights += tenant.share.weight;
  }
  const double divided = active < 2 ? 0 : (capacity_ - std::min<uint64_t>(capacity_, guaranteed)) / 2.0;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    Tenant& tenant = tenants_[i];
    const double part = tenant.is_active ? divided * tenant.share.weight / weights : 0;
    if (std::exchange(tenant.part, static_cast<uint32_t>(part)) != tenant.part)
      NoteChange(static_cast<uint32_t>(i + 1));
  }
}

void TenantEviction::NoteChange(uint32_t tenant) {
  Tenant& changed = tenants_[tenant - 1];
  if (std::exchange(changed.changed, true)) return;
  changed_.push_back(tenant);
}

void TenantEviction::Count(uint32_t tenant, int blocks, int cached) {
  if (tenant == 0) return;
  Tenant& counted = tenants_.at(tenant - 1);
  held_ -= counted.held();
  counted.blocks += static_cast<uint32_t>(blocks);
  counted.cached += static_cast<uint32_t>(cached);
  PREFIXD_CHECK(counted.cached <= counted.blocks) << counted.cached << " of " << counted.blocks;
  held_ += counted.held();
  if (blocks == 0) return;
  if (counted.blocks > counted.share.most) {
    above_most_.insert(tenant);
  } else if (!above_most_.empty()) {
    above_most_.erase(tenant);
  }
  NoteChange(tenant);
}

void TenantEviction::Insert(NodeId node, const NodeUse& use) {
  policy_->Insert(node, use);
  Count(use.tenant, 1, 0);
  ++inserted_;
  NoteUse(use.tenant);
}

void TenantEviction::Remove(NodeId node, const NodeUse& use) {
  policy_->Remove(node, use);
  Count(use.tenant, -1, 0);
}

void TenantEviction::AddCandidate(NodeId node, const NodeUse& use) {
  if (use.tenant == 0) return policy_->AddCandidate(node, use);
  if (node >= states_.size()) states_.resize(node + 1, State::kNone);
  PREFIXD_CHECK(states_[node] == State::kNone) << "node " << node << " is a candidate already";
  states_[node] = State::kHeldBack;
  uses_.emplace(node, use);
  tenants_.at(use.tenant - 1).held_back.insert(KeyOf(node, use));
  NoteChange(use.tenant);
}

void TenantEviction::RemoveCandidate(NodeId node) {
  if (node >= states_.size() || states_[node] == State::kNone) return policy_->RemoveCandidate(node);
  const auto it = uses_.find(node);
  Tenant& tenant = tenants_[it->second.tenant - 1];
  const bool offered = states_[node] == State::kOffered;
  (offered ? tenant.offered : tenant.held_back).erase(KeyOf(node, it->second));
  if (offered) policy_->RemoveCandidate(node);
  NoteChange(it->second.tenant);
  states_[node] = State::kNone;
  uses_.erase(it);
}

void TenantEviction::Offer(Tenant* tenant) {
  const auto first = tenant->held_back.extract(tenant->held_back.begin());
  const NodeId node = std::get<2>(first.value());
  tenant->offered.insert(first.value());
  states_[node] = State::kOffered;
  policy_->AddCandidate(node, uses_.at(node));
}

void TenantEviction::HoldBack(Tenant* tenant) {
  const auto last = tenant->offered.extract(std::prev(tenant->offered.end()));
  const NodeId node = std::get<2>(last.value());
  tenant->held_back.insert(last.value());
  states_[node] = State::kHeldBack;
  policy_->RemoveCandidate(node);
}

void TenantEviction::Balance(Tenant* tenant) {
  tenant->changed = false;
  const size_t most = tenant->offer();
  while (tenant->offered.size() > most) HoldBack(tenant);
  while (tenant->offered.size() < most && !tenant->held_back.empty()) Offer(tenant);
  while (!tenant->offered.empty() && !tenant->held_back.empty() &&
         *tenant->held_back.begin() < *tenant->offered.rbegin()) {
    HoldBack(tenant);
    Offer(tenant);
  }
}

std::optional<NodeId> TenantEviction::Victim() {
  if (!tenants_.empty() && (parts_changed_ || inserted_ >= divide_parts_at_)) DivideParts();
  for (const uint32_t tenant : changed_) Balance(&tenants_[tenant - 1]);
  changed_.clear();
  return policy_->Victim();
}

std::optional<NodeId> TenantEviction::VictimWithinPart() const {
  const Tenant* most = nullptr;
  for (const Tenant& tenant : tenants_) {
    if (tenant.held_back.empty() || tenant.excess() == 0) continue;
    if (most == nullptr || tenant.excess() / tenant.share.weight > most->excess() / most->share.weight)
      most = &tenant;
  }
  if (most == nullptr) return std::nullopt;
  return std::get<2>(*most->held_back.begin());
}

std::optional<NodeId> TenantEviction::OwnVictim(uint32_t tenant) const {
  if (tenant == 0) return std::nullopt;
  const Tenant& own = tenants_[tenant - 1];
  const Order* first = &own.offered;
  if (first->empty() || (!own.held_back.empty() && *own.held_back.begin() < *first->begin()))
    first = &own.held_back;
  if (first->empty()) return std::nullopt;
  return std::get<2>(*first->begin());
}

bool TenantEviction::IsAtMost(uint32_t tenant) const {
  return tenant != 0 && tenants_[tenant - 1].blocks >= tenants_[tenant - 1].share.most;
}

void TenantEviction::CheckInvariants() const {
  policy_->CheckInvariants();
  size_t candidates = 0;
  uint64_t held = 0;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    const Tenant& tenant = tenants_[i];
    const auto number = static_cast<uint32_t>(i + 1);
    PREFIXD_CHECK(tenant.cached <= tenant.blocks) << "tenant " << number;
    PREFIXD_CHECK(above_most_.contains(number) == (tenant.blocks > tenant.share.most)) << "tenant " << number;
    candidates += tenant.offered.size() + tenant.held_back.size();
    held += tenant.held();
    for (const Order* order : {&tenant.offered, &tenant.held_back}) {
      for (const auto& key : *order) {
        const NodeId node = std::get<2>(key);
        const bool offered = order == &tenant.offered;
        PREFIXD_CHECK(states_.at(node) == (offered ? State::kOffered : State::kHeldBack)) << "node " << node;
        PREFIXD_CHECK(policy_->IsCandidate(node) == offered) << "node " << node;
        PREFIXD_CHECK(uses_.at(node).tenant == number && KeyOf(node, uses_.at(node)) == key) << node;
      }
    }
    if (tenant.changed) continue;
    PREFIXD_CHECK(tenant.offered.size() <= tenant.offer()) << "tenant " << number;
    PREFIXD_CHECK(tenant.held_back.empty() || tenant.offered.size() == tenant.offer()) << number;
    PREFIXD_CHECK(tenant.offered.empty() || tenant.held_back.empty() ||
                  *tenant.offered.rbegin() < *tenant.held_back.begin())
        << "tenant " << number;
  }
  PREFIXD_CHECK(candidates == uses_.size() && held == held_) << candidates << ", " << held;
  const auto states = std::ranges::count_if(states_, [](State state) { return state != State::kNone; });
  PREFIXD_CHECK(static_cast<size_t>(states) == candidates) << states << " of " << candidates;
}

}  // namespace prefixd
