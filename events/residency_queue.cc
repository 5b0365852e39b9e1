#include "events/residency_queue.h"

#include <utility>

#include "base/check.h"

namespace prefixd {

ResidencyQueue::ResidencyQueue(size_t most, std::optional<BlockKey> only_root, std::function<void()> filled)
    : most_(most), only_root_(only_root), filled_(std::move(filled)) {
  PREFIXD_CHECK(most > 0);
}

void ResidencyQueue::Push(ResidencyChange change) {
  bool fills = false;
  {
    MutexLock lock(mutex_);
    if (lost_ || changes_.size() >= most_) {
      fills = !lost_;
      LoseAllLocked();
    } else {
      fills = changes_.empty();
      changes_.push_back(std::move(change));
    }
    held_ = changes_.size();
  }
  if (fills) filled_();
}

void ResidencyQueue::LoseAllLocked() {
  lost_count_ += changes_.size() + 1;
  changes_.clear();
  lost_ = true;
}

void ResidencyQueue::OnStored(const Block& block, Tier tier) {
  if (only_root_ && block.root != *only_root_) return;
  Push({.kind = ResidencyChange::Kind::kStored,
        .tier = tier,
        .key = block.key,
        .parent = block.parent,
        .root = block.root,
        .tokens = {block.tokens.begin(), block.tokens.end()}});
}

void ResidencyQueue::OnRemoved(const BlockKey& root, const BlockKey& key, Tier tier) {
  if (only_root_ && root != *only_root_) return;
  Push({.kind = ResidencyChange::Kind::kRemoved, .tier = tier, .key = key});
}

void ResidencyQueue::OnDropped(const BlockKey& key) {
  Push({.kind = ResidencyChange::Kind::kRemoved, .tier = Tier::kDisk, .key = key});
}

void ResidencyQueue::OnLost() {
  {
    MutexLock lock(mutex_);
    LoseAllLocked();
    held_ = 0;
  }
  filled_();
}

// A report waits while the queue is half full, so that it does not fill it.
uint64_t ResidencyQueue::WantedReport() const {
  return held_.load(std::memory_order_relaxed) > most_ / 2 ? 0 : wanted_.load(std::memory_order_relaxed);
}

void ResidencyQueue::OnReported(uint64_t report) {
  uint64_t expected = report;
  if (!wanted_.compare_exchange_strong(expected, 0)) return;  // another one is wanted by now
  Push({.kind = ResidencyChange::Kind::kReported, .report = report});
}

ResidencyQueue::Taken ResidencyQueue::Take() {
  MutexLock lock(mutex_);
  held_ = 0;
  return {.changes = std::exchange(changes_, {}), .lost = std::exchange(lost_, false)};
}

uint64_t ResidencyQueue::WantReport() {
  const uint64_t report = ++last_report_;
  wanted_ = report;
  return report;
}

}  // namespace prefixd
