#include "cache/eviction.h"

#include <array>

#include "base/check.h"
#include "cache/eviction_adaptive.h"
#include "cache/eviction_lru.h"
#include "cache/eviction_odds.h"
#include "cache/eviction_queues.h"
#include "cache/eviction_two_queue.h"

namespace prefixd {
namespace {

struct Row {
  std::string_view name;
  std::unique_ptr<EvictionPolicy> (*make)(const EvictionOptions& options);
};

template <typename Policy>
std::unique_ptr<EvictionPolicy> Make(const EvictionOptions& options) {
  return std::make_unique<Policy>(options);
}

constexpr Row kTable[] = {
    {kDefaultEviction, Make<AdaptiveEviction>},
    {"2q", Make<TwoQueueEviction>},
    {"lru", Make<LruEviction>},
};

}  // namespace

std::span<const std::string_view> EvictionPolicyNames() {
  static constexpr auto kNames = [] {
    std::array<std::string_view, std::size(kTable)> names;
    for (size_t i = 0; i < names.size(); ++i) names[i] = kTable[i].name;
    return names;
  }();
  return kNames;
}

std::unique_ptr<EvictionPolicy> MakeEvictionPolicy(std::string_view name, const EvictionOptions& options) {
  PREFIXD_CHECK(options.capacity > 0);
  for (const Row& row : kTable) {
    if (row.name == name) return row.make(options);
  }
  return nullptr;
}

// The sum of what the headers of the policies say, for the policy that needs most. Its vectors by node grow
// by one, so they have at most twice the capacity that they need.
size_t MaxEvictionBytes(size_t blocks, size_t nodes, bool copies) {
  constexpr size_t kFixed = size_t{96} << 10;
  constexpr size_t kOfNode = 2 * (2 * sizeof(uint8_t) + sizeof(uint32_t) + sizeof(uint64_t));
  // Of a heap: its candidates in pieces, and the places of these in a vector that doubles.
  constexpr size_t kPieceBytes = EvictionQueues::kPiece * sizeof(EvictionQueues::Candidate);
  constexpr size_t kOfPiece = kPieceBytes + 3 * sizeof(void*);
  constexpr size_t kOfBlock = kOfPiece / EvictionQueues::kPiece + 1 + ReuseOdds::kBytesOfBlock;
  const size_t heaps = copies ? EvictionQueues::kHeaps : EvictionQueues::kHeaps / 2;
  return kFixed + PieceMemory::kChunkBytes + heaps * kOfPiece + nodes * kOfNode + blocks * kOfBlock;
}

}  // namespace prefixd
