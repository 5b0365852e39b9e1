#include "cache/eviction.h"

#include <array>

#include "base/check.h"
#include "cache/eviction_adaptive.h"
#include "cache/eviction_lru.h"
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

}  // namespace prefixd
