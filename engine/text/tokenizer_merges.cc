#include "engine/text/tokenizer_merges.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <queue>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr size_t kFew = 32;  // up to here a scan over an array is faster than a heap
constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();

}  // namespace

MergeTable::MergeTable(size_t merges) {
  const size_t size = std::bit_ceil(std::max<size_t>(16, merges * 2));
  slots_.resize(size);
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
}

void MergeTable::Insert(TokenId left, TokenId right, Merge merge) {
  PREFIXD_CHECK(left >= 0 && right >= 0) << left << " " << right;
  const uint64_t key = Key(left, right);
  size_t at = SlotOf(key);
  while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask_;
  slots_[at] = {key, merge};
}

void MergeTable::MergeAll(std::vector<TokenId>* symbols) const {
  if (symbols->size() < 2) return;
  symbols->size() <= kFew ? MergeFew(symbols) : MergeMany(symbols);
}

// At most kFew rounds over at most kFew ranks.
void MergeTable::MergeFew(std::vector<TokenId>* symbols) const {
  std::vector<TokenId>& ids = *symbols;
  std::array<Merge, kFew> merge_at;  // of ids[i] and ids[i + 1]
  const auto look_up = [&](size_t i) {
    const Merge* merge = Find(ids[i], ids[i + 1]);
    merge_at[i] = merge != nullptr ? *merge : Merge{kNoRank, 0};
  };
  size_t count = ids.size();
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merge_at[i].rank < merge_at[best].rank) best = i;
    }
    if (merge_at[best].rank == kNoRank) break;
    ids[best] = merge_at[best].product;
    std::copy(ids.begin() + best + 2, ids.begin() + count, ids.begin() + best + 1);
    if (best + 2 < count) std::copy(&merge_at[best + 2], &merge_at[count - 1], &merge_at[best + 1]);
    --count;
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  ids.resize(count);
}

// A linked list of symbols and a heap of candidates; a candidate whose pair has changed since is recognised
// by its product.
void MergeTable::MergeMany(std::vector<TokenId>* symbols) const {
  struct Node {
    TokenId id;  // -1: merged into the one before
    uint32_t previous, next;
  };
  struct Candidate {
    uint32_t rank, at;
    TokenId product;
    bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
  };
  const auto count = static_cast<uint32_t>(symbols->size());
  PREFIXD_CHECK(count == symbols->size() && count != kNoRank)
      << "a piece of " << symbols->size() << " symbols";
  std::vector<Node> nodes(count);
  for (uint32_t i = 0; i < count; ++i) nodes[i] = {(*symbols)[i], i - 1, i + 1};

  std::vector<Candidate> initial;
  for (uint32_t i = 0; i + 1 < count; ++i) {
    if (const Merge* merge = Find(nodes[i].id, nodes[i + 1].id))
      initial.push_back({merge->rank, i, merge->product});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap(std::greater<>(),
                                                                              std::move(initial));
  const auto push = [&](uint32_t at) {
    if (const Merge* merge = Find(nodes[at].id, nodes[nodes[at].next].id))
      heap.push({merge->rank, at, merge->product});
  };
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    Node& node = nodes[top.at];
    if (node.id < 0 || node.next >= count) continue;
    Node& right = nodes[node.next];
    const Merge* merge = Find(node.id, right.id);
    if (merge == nullptr || merge->product != top.product) continue;
    node.id = top.product;
    node.next = right.next;
    right.id = -1;
    if (node.next < count) {
      nodes[node.next].previous = top.at;
      push(top.at);
    }
    if (node.previous < count) push(node.previous);
  }
  symbols->clear();
  for (const Node& node : nodes) {
    if (node.id >= 0) symbols->push_back(node.id);
  }
}

}  // namespace prefixd
