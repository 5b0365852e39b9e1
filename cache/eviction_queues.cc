#include "cache/eviction_queues.h"

#include <algorithm>
#include <new>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace prefixd {

bool EvictionQueues::Candidate::Before(const Candidate& other) const {
  return std::tie(last_use, other.depth, node) < std::tie(other.last_use, depth, other.node);
}

void EvictionQueues::CheckNotCandidate(NodeId node) const {
  PREFIXD_CHECK(Contains(node)) << "node " << node << " has no block in the tier";
  PREFIXD_CHECK(!IsCandidate(node)) << "node " << node << " is a candidate";
}

int EvictionQueues::queue(NodeId node) const {
  PREFIXD_CHECK(Contains(node)) << "node " << node << " has no block in the tier";
  return queues_[node] % kCopied;
}

void EvictionQueues::Insert(NodeId node, int queue) {
  PREFIXD_CHECK(node != kNoNode && (queue == 0 || queue == 1)) << node << ", queue " << queue;
  PREFIXD_CHECK(!Contains(node)) << "node " << node << " has a block in the tier already";
  if (node >= queues_.size()) {
    queues_.resize(node + 1, kAbsent);
    places_.resize(node + 1, kNoPlace);
  }
  queues_[node] = static_cast<uint8_t>(queue);
  ++sizes_[queues_[node]];
}

void EvictionQueues::Move(NodeId node, int queue) {
  CheckNotCandidate(node);
  PREFIXD_CHECK(queue == 0 || queue == 1) << queue;
  --sizes_[queues_[node]];
  queues_[node] = static_cast<uint8_t>(queue);
  ++sizes_[queues_[node]];
}

void EvictionQueues::Remove(NodeId node) {
  CheckNotCandidate(node);
  --sizes_[queues_[node]];
  queues_[node] = kAbsent;
}

void EvictionQueues::AddCandidate(NodeId node, const NodeUse& use, uint8_t group) {
  CheckNotCandidate(node);
  PREFIXD_CHECK(group < kGroups) << "group " << group;
  queues_[node] = static_cast<uint8_t>(queues_[node] + (use.copied ? kCopied : 0) + kGroup * group);
  newest_use_ = std::max(newest_use_, use.last_use);
  Heap& heap = heap_of(node);
  const Candidate candidate{.last_use = use.last_use, .depth = use.depth, .node = node};
  heap.AddPlace(&memory_);
  Settle(heap, static_cast<uint32_t>(heap.size() - 1), candidate);
}

void EvictionQueues::RemoveCandidate(NodeId node) {
  PREFIXD_CHECK(IsCandidate(node)) << "node " << node << " is no candidate";
  Heap& heap = heap_of(node);
  const uint32_t place = places_[node];
  const Candidate last = heap[heap.size() - 1];
  heap.DropLastPlace(&memory_);
  places_[node] = kNoPlace;
  if (last.node != node) Settle(heap, place, last);
  queues_[node] = static_cast<uint8_t>(queue(node));
}

void EvictionQueues::Heap::AddPlace(PieceMemory* memory) {
  if (size_ % kPiece == 0) {
    void* const piece = memory->allocate(kPiece * sizeof(Candidate), alignof(Candidate));
    pieces_.push_back(static_cast<Candidate*>(piece));
  }
  new (&(*this)[size_]) Candidate{};
  ++size_;
}

void EvictionQueues::Heap::DropLastPlace(PieceMemory* memory) {
  --size_;
  if (size_ % kPiece != 0) return;
  memory->deallocate(pieces_.back(), kPiece * sizeof(Candidate), alignof(Candidate));
  pieces_.pop_back();
}

EvictionQueues::~EvictionQueues() {
  for (Heap& heap : heaps_)
    while (!heap.empty()) heap.DropLastPlace(&memory_);
}

void EvictionQueues::Settle(Heap& heap, uint32_t place, const Candidate& candidate) {
  const auto put = [&](uint32_t at, const Candidate& moved) {
    heap[at] = moved;
    places_[moved.node] = at;
  };
  while (place > 0 && candidate.Before(heap[(place - 1) / 2])) {
    put(place, heap[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  for (uint32_t child = 2 * place + 1; child < heap.size(); child = 2 * place + 1) {
    if (child + 1 < heap.size() && heap[child + 1].Before(heap[child])) ++child;
    if (!heap[child].Before(candidate)) break;
    put(place, heap[child]);
    place = child;
  }
  put(place, candidate);
}

const EvictionQueues::Candidate* EvictionQueues::Best(unsigned kinds) const {
  const Candidate* best = nullptr;
  double best_share = 1;
  const auto age = [this](const Candidate& candidate) {
    return static_cast<double>(newest_use_ - candidate.last_use + 1);
  };
  for (size_t at = 0; at < heaps_.size(); ++at) {
    if (heaps_[at].empty() || (kinds >> (at % kGroup) & 1) == 0) continue;
    const Candidate& first = heaps_[at][0];
    const double share = worths_[at / kGroup] * ((at & kCopied) != 0 ? copy_cost_ : 1);
    if (best != nullptr) {
      const double mine = age(first) * best_share;
      const double other = age(*best) * share;
      if (mine < other || (mine == other && !first.Before(*best))) continue;
    }
    best = &first;
    best_share = share;
  }
  return best;
}

const EvictionQueues::Candidate* EvictionQueues::First(int queue) const {
  return Best((1u | 1u << kCopied) << queue);
}

const EvictionQueues::Candidate* EvictionQueues::FirstOfQueueOrCopied(int queue) const {
  return Best(1u << queue | 3u << kCopied);
}

const EvictionQueues::Candidate* EvictionQueues::First() const { return Best(15); }

void EvictionQueues::CheckInvariants() const {
  PREFIXD_CHECK(places_.size() == queues_.size());
  std::array<uint32_t, 2> nodes = {};
  std::array<size_t, kHeaps> candidates = {};
  for (NodeId node = 0; node < queues_.size(); ++node) {
    if (queues_[node] != kAbsent) ++nodes.at(static_cast<size_t>(queue(node)));
    if (places_[node] == kNoPlace) {
      PREFIXD_CHECK(queues_[node] == kAbsent || queues_[node] < kCopied) << "node " << node;
      continue;
    }
    PREFIXD_CHECK(queues_[node] != kAbsent) << "candidate " << node << " has no block in the tier";
    const Heap& heap = heaps_[queues_[node]];
    ++candidates[queues_[node]];
    PREFIXD_CHECK(places_[node] < heap.size() && heap[places_[node]].node == node)
        << "candidate " << node << " has lost its place";
  }
  for (size_t queue = 0; queue < sizes_.size(); ++queue) {
    PREFIXD_CHECK(nodes[queue] == sizes_[queue])
        << "queue " << queue << " has " << nodes[queue] << " nodes and counts " << sizes_[queue];
  }
  size_t pieces = 0;
  for (size_t at = 0; at < heaps_.size(); ++at) {
    const Heap& heap = heaps_[at];
    pieces += (heap.size() + kPiece - 1) / kPiece;
    PREFIXD_CHECK(candidates[at] == heap.size())
        << candidates[at] << " candidates in " << heap.size() << " places";
    for (size_t place = 1; place < heap.size(); ++place) {
      PREFIXD_CHECK(!heap[place].Before(heap[(place - 1) / 2]))
          << "candidate " << heap[place].node << " is out of order";
    }
  }
  PREFIXD_CHECK(memory_.used() == pieces) << "the heaps have " << memory_.used() << " pieces, not " << pieces;
}

}  // namespace prefixd
