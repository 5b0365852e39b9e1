#include "text/tokenizer/merges.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <limits>
#include <queue>
#include <unordered_map>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr size_t kFew = 32;  // up to this size an array scan is faster than a heap
constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();

struct Candidate {
  uint32_t rank, at;
  TokenId product;
  bool operator>(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
};

// A priority queue of candidates: lowest rank first, leftmost of equals. A long text has millions of
// candidates but few ranks, and a heap of all candidates would cost a logarithm for each. So there is a
// bucket per rank and a heap of ranks. The bucket of the current rank is sorted once (mostly it already is)
// and read from the front. Only candidates that are pushed meanwhile for this rank or a lower one need a
// heap of candidates.
class CandidateQueue {
 public:
  void Push(const Candidate& candidate) {
    if (open_ != nullptr && candidate.rank <= open_rank_) return late_.push(candidate);
    if (last_ == nullptr || candidate.rank != last_rank_) {
      const auto [found, is_new] = buckets_.try_emplace(candidate.rank);
      if (is_new) {
        found->second.product = candidate.product;
        ranks_.push(candidate.rank);
      }
      last_ = &found->second;
      last_rank_ = candidate.rank;
    }
    last_->places.push_back(candidate.at);
  }

  bool Pop(Candidate* best) {
    while (true) {
      const bool more = open_ != nullptr && next_ < open_->places.size();
      if (more) *best = {open_rank_, open_->places[next_], open_->product};
      if (!late_.empty() && (!more || *best > late_.top())) {
        *best = late_.top();
        late_.pop();
        return true;
      }
      if (more) {
        ++next_;
        return true;
      }
      if (ranks_.empty()) return false;
      Open(ranks_.top());
      ranks_.pop();
    }
  }

 private:
  struct Bucket {
    TokenId product = 0;
    std::vector<uint32_t> places;
  };

  void Open(uint32_t rank) {
    if (open_ != nullptr) buckets_.erase(open_rank_);
    open_ = &buckets_.at(rank);
    open_rank_ = rank;
    next_ = 0;
    last_ = nullptr;  // nothing is pushed there any more
    std::vector<uint32_t>& places = open_->places;
    if (!std::is_sorted(places.begin(), places.end())) std::sort(places.begin(), places.end());
  }

  template <typename T>
  using LowestFirst = std::priority_queue<T, std::vector<T>, std::greater<>>;

  std::unordered_map<uint32_t, Bucket> buckets_;  // by rank
  LowestFirst<uint32_t> ranks_;                   // of the buckets that are not open yet
  LowestFirst<Candidate> late_;
  Bucket* open_ = nullptr;
  uint32_t open_rank_ = 0;
  size_t next_ = 0;  // in open_
  Bucket* last_ = nullptr;
  uint32_t last_rank_ = 0;
};

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

// Uses a linked list of symbols and a queue of candidates. A candidate is stale if its pair no longer has its
// product.
void MergeTable::MergeMany(std::vector<TokenId>* symbols) const {
  struct Node {
    TokenId id;  // -1: merged into the one before
    uint32_t previous, next;
  };
  const auto count = static_cast<uint32_t>(symbols->size());
  PREFIXD_CHECK(count == symbols->size() && count != kNoRank)
      << "a piece of " << symbols->size() << " symbols";
  std::vector<Node> nodes(count);
  for (uint32_t i = 0; i < count; ++i) nodes[i] = {(*symbols)[i], i - 1, i + 1};

  CandidateQueue queue;
  const auto push = [&](uint32_t at) {
    if (const Merge* merge = Find(nodes[at].id, nodes[nodes[at].next].id)) {
      queue.Push({merge->rank, at, merge->product});
    }
  };
  for (uint32_t i = 0; i + 1 < count; ++i) push(i);
  for (Candidate best; queue.Pop(&best);) {
    Node& node = nodes[best.at];
    if (node.id < 0 || node.next >= count) continue;
    Node& right = nodes[node.next];
    const Merge* merge = Find(node.id, right.id);
    if (merge == nullptr || merge->product != best.product) continue;
    node.id = best.product;
    node.next = right.next;
    right.id = -1;
    if (node.next < count) {
      nodes[node.next].previous = best.at;
      push(best.at);
    }
    if (node.previous < count) push(node.previous);
  }
  symbols->clear();
  for (const Node& node : nodes) {
    if (node.id >= 0) symbols->push_back(node.id);
  }
}

}  // namespace prefixd
