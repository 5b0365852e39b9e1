#include "events/block_index.h"

#include <bit>
#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

uint8_t Bit(Tier tier) { return static_cast<uint8_t>(1u << static_cast<unsigned>(tier)); }

}  // namespace

const BlockIndex::Entry* BlockIndex::Add(const BlockKey& key, Block block, Tier tier) {
  auto it = blocks_.find(key);
  if (it == blocks_.end()) {
    if (blocks_.size() >= most_) return nullptr;
    block.tiers = 0;
    it = blocks_.emplace(key, std::move(block)).first;
  }
  if ((it->second.tiers & Bit(tier)) != 0) return nullptr;
  it->second.tiers |= Bit(tier);
  return &*it;
}

std::vector<const BlockIndex::Entry*> BlockIndex::Tell(const BlockKey& key) {
  const auto it = blocks_.find(key);
  PREFIXD_CHECK(it != blocks_.end() && !it->second.told);
  if (!it->second.is_first()) {
    const auto parent = blocks_.find(it->second.parent);
    if (parent == blocks_.end() || !parent->second.told) {
      const bool is_new = std::has_single_bit(it->second.tiers);  // else it waits already
      if (is_new) waiting_[it->second.parent].push_back(key);
      return {};
    }
  }
  it->second.told = true;
  std::vector<const Entry*> told = {&*it};
  for (size_t i = 0; i < told.size(); ++i) {
    const auto found = waiting_.extract(told[i]->first);
    if (found.empty()) continue;
    for (const BlockKey& child : found.mapped()) {
      Entry& entry = *blocks_.find(child);
      entry.second.told = true;
      told.push_back(&entry);
    }
  }
  return told;
}

void BlockIndex::TellAll() {
  waiting_.clear();
  for (Entry& entry : blocks_) entry.second.told = false;
  VisitRuns([this](std::span<const Entry* const> run) {
    for (const Entry* entry : run) blocks_.find(entry->first)->second.told = true;
  });
  for (const Entry& entry : blocks_)
    if (!entry.second.told) waiting_[entry.second.parent].push_back(entry.first);
}

bool BlockIndex::Remove(const BlockKey& key, Tier tier) {
  const auto it = blocks_.find(key);
  if (it == blocks_.end() || (it->second.tiers & Bit(tier)) == 0) return false;
  const bool told = it->second.told;
  it->second.tiers &= static_cast<uint8_t>(~Bit(tier));
  if (it->second.tiers != 0) return told;
  const auto waits = waiting_.find(it->second.parent);
  if (!told && waits != waiting_.end() && std::erase(waits->second, key) > 0 && waits->second.empty())
    waiting_.erase(waits);
  blocks_.erase(it);
  return told;
}

void BlockIndex::Clear() {
  blocks_.clear();
  waiting_.clear();
}

void BlockIndex::VisitRuns(const Visitor& visit) const {
  std::unordered_map<BlockKey, std::vector<const Entry*>> children;
  std::vector<const Entry*> begins;  // of runs
  for (const Entry& entry : blocks_) {
    if (entry.second.is_first()) {
      begins.push_back(&entry);
    } else {
      children[entry.second.parent].push_back(&entry);
    }
  }
  std::vector<const Entry*> run;
  while (!begins.empty()) {
    run.assign(1, begins.back());
    begins.pop_back();
    while (true) {
      const auto found = children.find(run.back()->first);
      if (found == children.end()) break;
      const bool goes_on =
          found->second.size() == 1 && found->second[0]->second.tiers == run[0]->second.tiers;
      if (goes_on) {
        run.push_back(found->second[0]);
        continue;
      }
      begins.insert(begins.end(), found->second.begin(), found->second.end());
      break;
    }
    visit(run);
  }
}

size_t BlockIndex::MaxMemoryBytes(size_t blocks, int block_tokens) {
  // An entry with its heap header, its tokens, and its buckets while the table grows; beside it, while runs
  // are visited, the entry of its parent's children and their list.
  constexpr size_t kHeap = 16;
  constexpr size_t kEntry = sizeof(Entry) + 2 * sizeof(void*) + kHeap + 3 * sizeof(void*);
  constexpr size_t kChildren =
      sizeof(BlockKey) + sizeof(std::vector<const Entry*>) + 6 * sizeof(void*) + 2 * kHeap;
  // As many blocks may wait for their parents.
  return blocks * (kEntry + 2 * kChildren + kHeap + static_cast<size_t>(block_tokens) * sizeof(TokenId));
}

}  // namespace prefixd
