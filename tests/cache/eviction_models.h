// Plain models of the eviction policies, with linear searches, and a policy that compares a real one with its
// model at every call. They state again what the headers of the policies say. One thread.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/eviction.h"

namespace prefixd {

// Keeps what the calls say, and checks their order.
class PlainPolicy : public EvictionPolicy {
 public:
  struct Entry {
    NodeUse use;  // of the last Insert, Hit or AddCandidate
    bool again = false;
    bool candidate = false;
    int group = -1;  // of the candidate; -1: worth 1
  };

  void Insert(NodeId node, const NodeUse& use) override {
    PREFIXD_CHECK(!entries_.contains(node)) << node;
    entries_[node] = {.use = use, .again = use.admissions >= 2};
    WhenInserted(node);
  }
  void Hit(NodeId node, const NodeUse& use) override {
    PREFIXD_CHECK(!entries_.at(node).candidate) << node;
    WhenHit(node, use);
  }
  void Remove(NodeId node, const NodeUse& use) override {
    PREFIXD_CHECK(!entries_.at(node).candidate) << node;
    WhenRemoved(node, use);
    entries_.erase(node);
  }
  void AddCandidate(NodeId node, const NodeUse& use) override {
    PREFIXD_CHECK(!entries_.at(node).candidate) << node;
    entries_[node].use = use;
    entries_[node].candidate = true;
    newest_ = std::max(newest_, use.last_use);
    entries_[node].group = GroupOfCandidate(node, entries_[node]);
  }
  void RemoveCandidate(NodeId node) override {
    PREFIXD_CHECK(entries_.at(node).candidate) << node;
    entries_[node].candidate = false;
  }
  bool IsCandidate(NodeId node) const override {
    const auto entry = entries_.find(node);
    return entry != entries_.end() && entry->second.candidate;
  }
  std::optional<NodeId> Victim() const override {
    std::optional<NodeId> first;
    for (const bool preferred : {true, false}) {
      for (const auto& [node, entry] : entries_) {
        if (!entry.candidate || (preferred && !Preferred(entry))) continue;
        if (!first || GoesBefore(node, *first)) first = node;
      }
      if (first) break;
    }
    return first;
  }
  void SetCopyCost(double share) override { copy_cost_ = share; }
  void CheckInvariants() const override {}

 protected:
  virtual void WhenInserted(NodeId) {}
  virtual void WhenHit(NodeId, const NodeUse&) {}
  virtual void WhenRemoved(NodeId, const NodeUse&) {}
  // The others go only when no candidate is preferred.
  virtual bool Preferred(const Entry&) const { return true; }
  virtual int GroupOfCandidate(NodeId, const Entry&) { return -1; }
  virtual double Worth(int) const { return 1; }
  size_t UsedAgain() const {
    return static_cast<size_t>(
        std::ranges::count_if(entries_, [](const auto& entry) { return entry.second.again; }));
  }
  std::map<NodeId, Entry> entries_;
  double copy_cost_ = 1;

 private:
  bool GoesBefore(NodeId node, NodeId other) const {
    const Entry& a = entries_.at(node);
    const Entry& b = entries_.at(other);
    const auto age = [&](const Entry& entry) {
      return static_cast<double>(newest_ - entry.use.last_use + 1);
    };
    const auto share = [&](const Entry& entry) {
      return Worth(entry.group) * (entry.use.copied ? copy_cost_ : 1);
    };
    const double mine = age(a) * share(b);
    const double its = age(b) * share(a);
    if (mine != its) return mine > its;
    return std::tuple(a.use.last_use, b.use.depth, node) < std::tuple(b.use.last_use, a.use.depth, other);
  }
  uint64_t newest_ = 0;
};

class PlainTwoQueue final : public PlainPolicy {
 public:
  explicit PlainTwoQueue(uint32_t capacity) : capacity_(capacity) {}

 protected:
  bool Preferred(const Entry& entry) const override {
    return entry.again == (UsedAgain() > capacity_ - capacity_ / 4);
  }

 private:
  const size_t capacity_;
};

// ReuseProfile with a list of nodes for each segment.
struct PlainProfile {
  explicit PlainProfile(uint32_t blocks)
      : capacity(blocks), width((blocks + 63) / 64), shares(blocks / width) {}

  // Returns whether a use of a node that is used again says anything.
  bool Use(NodeId node, bool again) {
    bool near = false;
    const auto known = places.find(node);
    if (known != places.end() && known->second.first + 4096 > segments.size() - 1) {
      const auto [segment, was_again] = known->second;
      std::array<size_t, 2> distances = {};
      for (size_t i = segment; i < segments.size(); ++i) {
        for (const NodeId other : segments[i]) ++distances[places.at(other).second];
      }
      near = again && distances[0] + distances[1] <= capacity / 16;
      if (again && !near) {
        undivided += distances[0] + distances[1] <= capacity;
        ++hits[was_again][(distances[was_again] + width - 1) / width];
      }
    }
    if (known != places.end()) segments[known->second.first].erase(node);
    if (segments.back().size() >= width) segments.emplace_back();
    segments.back().insert(node);
    places[node] = {segments.size() - 1, near ? known->second.second : again};
    if (near) return false;
    ++uses;
    if (uses % (4 * capacity) == 0) {
      for (auto& set : hits) {
        for (auto& [share, count] : set) count /= 2;
      }
      undivided /= 2;
    }
    if (uses % std::max<size_t>(1, capacity / 16) == 0) Choose();
    return true;
  }

  bool UsedOnce(NodeId node) const {
    const auto known = places.find(node);
    return known != places.end() && known->second.first + 4096 > segments.size() - 1 && !known->second.second;
  }

  uint64_t HitsUpTo(bool again, uint64_t share) const {
    uint64_t sum = 0;
    for (const auto& [at, count] : hits[again]) sum += at <= share ? count : 0;
    return sum;
  }

  void Choose() {
    uint64_t best = 0;
    uint64_t best_share = 0;
    for (uint64_t share = 0; share <= shares; ++share) {
      const uint64_t found = HitsUpTo(false, share) + HitsUpTo(true, shares - share);
      if (found > best) std::tie(best, best_share) = std::tuple(found, share);
    }
    probation.reset();
    if (100 * best > 101 * undivided) probation = static_cast<uint32_t>(best_share * width);
  }

  const size_t capacity, width, shares;
  std::vector<std::set<NodeId>> segments{1};
  std::map<NodeId, std::pair<size_t, bool>> places;  // segment, used again
  std::array<std::map<uint64_t, uint64_t>, 2> hits;
  uint64_t undivided = 0;
  size_t uses = 0;
  std::optional<uint32_t> probation;
};

// ReuseOdds with the end of every request.
struct PlainOdds {
  explicit PlainOdds(uint32_t blocks) : capacity(blocks) { worths.fill(1); }

  void NoteEnd(NodeId node, const NodeUse& use) {
    if (use.last_use == 0) return;
    newest = std::max(newest, use.last_use);
    ends[use.last_use] = std::max(ends[use.last_use], use.depth);
    groups[node] = Group(node, use);
  }
  int Group(NodeId node, const NodeUse& use) const {
    const auto end = ends.find(use.last_use);
    if (end == ends.end() || newest - use.last_use >= capacity) {
      return groups.contains(node) ? groups.at(node) : 7;
    }
    const uint32_t distance = end->second < use.depth ? 0 : std::min(7u, end->second - use.depth);
    return static_cast<int>(distance) + (use.request_class < 8 ? 0 : 8);
  }
  void Count(int group, bool used_again) {
    ++all[static_cast<size_t>(group)];
    if (used_again) ++again[static_cast<size_t>(group)];
    ++counted;
    const auto halve = [](double& count) { count /= 2; };
    if (counted % (4 * capacity) == 0) std::ranges::for_each(all, halve), std::ranges::for_each(again, halve);
    if (counted % std::max<size_t>(1, capacity / 16) != 0) return;
    const double average =
        std::accumulate(again.begin(), again.end(), 0.0) / std::accumulate(all.begin(), all.end(), 0.0);
    for (size_t i = 0; i < worths.size(); ++i) {
      worths[i] = average == 0 ? 1 : std::max(1.0 / 32, (again[i] + 2 * average) / (all[i] + 2) / average);
    }
  }

  const size_t capacity;
  std::map<uint64_t, uint32_t> ends;
  std::map<NodeId, int> groups;
  uint64_t newest = 0;
  std::array<double, 16> again = {}, all = {}, worths;
  size_t counted = 0;
};

class PlainAdaptive final : public PlainPolicy {
 public:
  explicit PlainAdaptive(uint32_t capacity) : capacity_(capacity), profile_(capacity), odds_(capacity) {}

 protected:
  void WhenInserted(NodeId node) override {
    const Entry& entry = entries_[node];
    if (entry.again && profile_.UsedOnce(node)) odds_.Count(odds_.Group(node, entry.use), true);
    profile_.Use(node, entry.again);
    if (!entry.again) odds_.groups.erase(node);
  }
  void WhenHit(NodeId node, const NodeUse& use) override {
    if (use.last_use == 0 || !profile_.Use(node, true)) return;
    if (!entries_[node].again) odds_.Count(odds_.Group(node, use), true);
    entries_[node].again = true;
  }
  void WhenRemoved(NodeId node, const NodeUse& use) override {
    if (!entries_[node].again && use.last_use != 0) odds_.Count(odds_.Group(node, use), false);
  }
  int GroupOfCandidate(NodeId node, const Entry& entry) override {
    odds_.NoteEnd(node, entry.use);
    return entry.again ? -1 : odds_.Group(node, entry.use);
  }
  double Worth(int group) const override { return group < 0 ? 1 : odds_.worths[static_cast<size_t>(group)]; }
  bool Preferred(const Entry& entry) const override {
    if (!profile_.probation || (entry.use.copied && copy_cost_ < 1)) return true;
    return entry.again == (UsedAgain() + *profile_.probation > capacity_);
  }

 private:
  const size_t capacity_;
  PlainProfile profile_;
  PlainOdds odds_;
};

inline std::unique_ptr<PlainPolicy> MakePlainPolicy(std::string_view name, uint32_t capacity) {
  if (name == "lru") return std::make_unique<PlainPolicy>();
  if (name == "2q") return std::make_unique<PlainTwoQueue>(capacity);
  PREFIXD_CHECK(name == "adaptive") << name << " has no model";
  return std::make_unique<PlainAdaptive>(capacity);
}

// The policy of this name together with its model.
class ComparedPolicy final : public EvictionPolicy {
 public:
  ComparedPolicy(std::string_view name, uint32_t capacity)
      : has_use_(name == "adaptive"),
        policy_(MakeEvictionPolicy(name, {.capacity = capacity})),
        model_(MakePlainPolicy(name, capacity)) {}

  void Insert(NodeId node, const NodeUse& use) override {
    policy_->Insert(node, use);
    model_->Insert(node, use);
  }
  void Hit(NodeId node, const NodeUse& use) override {
    policy_->Hit(node, use);
    model_->Hit(node, use);
  }
  void Remove(NodeId node, const NodeUse& use) override {
    policy_->Remove(node, use);
    model_->Remove(node, use);
  }
  void AddCandidate(NodeId node, const NodeUse& use) override {
    policy_->AddCandidate(node, use);
    model_->AddCandidate(node, use);
  }
  void RemoveCandidate(NodeId node) override {
    policy_->RemoveCandidate(node);
    model_->RemoveCandidate(node);
  }
  void SetCopyCost(double share) override {
    policy_->SetCopyCost(share);
    // The others have no use for it.
    if (has_use_) model_->SetCopyCost(share);
  }
  bool IsCandidate(NodeId node) const override {
    PREFIXD_CHECK(policy_->IsCandidate(node) == model_->IsCandidate(node)) << node;
    return policy_->IsCandidate(node);
  }
  std::optional<NodeId> Victim() const override {
    const std::optional<NodeId> victim = policy_->Victim();
    PREFIXD_CHECK(victim == model_->Victim())
        << victim.value_or(kNoNode) << ", model " << model_->Victim().value_or(kNoNode);
    return victim;
  }
  void CheckInvariants() const override { policy_->CheckInvariants(); }

 private:
  const bool has_use_;  // for the cost of a copy
  std::unique_ptr<EvictionPolicy> policy_;
  std::unique_ptr<PlainPolicy> model_;
};

}  // namespace prefixd
