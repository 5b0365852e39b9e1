#include "storage/disk_summary.h"

#include <algorithm>

namespace prefixd {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint32_t kSeveral = UINT32_MAX - 1;

// The trees of a model, in arrays by the place of a record.
struct Trees {
  std::vector<uint32_t> parent;    // kNone for the first record of a tree
  std::vector<uint32_t> child;     // the only one, kNone or kSeveral
  std::vector<uint32_t> children;  // whose sums are not yet in those of the record
  std::vector<uint32_t> records;   // the sums: of the record and all below
  std::vector<uint64_t> bytes;
  std::vector<uint64_t> tokens;
};

bool BeginsPrompt(const CatalogModel& model, const CatalogRecord& record) {
  return record.root != CatalogRecord::kNoRoot && record.parent == model.roots[record.root];
}

Trees MakeTrees(const CatalogModel& model) {
  const size_t count = model.records.size();
  Trees trees{.parent = std::vector<uint32_t>(count, kNone),
              .child = std::vector<uint32_t>(count, kNone),
              .children = std::vector<uint32_t>(count),
              .records = std::vector<uint32_t>(count, 1),
              .bytes = std::vector<uint64_t>(count),
              .tokens = std::vector<uint64_t>(count)};
  for (uint32_t i = 0; i < count; ++i) {
    const CatalogRecord& record = model.records[i];
    trees.bytes[i] = record.bytes;
    trees.tokens[i] = record.tokens;
    if (record.root == CatalogRecord::kNoRoot || BeginsPrompt(model, record)) continue;
    const int64_t parent = model.Find(record.parent);
    if (parent < 0) continue;
    trees.parent[i] = static_cast<uint32_t>(parent);
    trees.child[parent] = trees.children[parent] == 0 ? i : kSeveral;
    ++trees.children[parent];
  }
  // From every leaf upwards, as long as all children of a record are in its sums. A circle is never entered.
  for (uint32_t leaf = 0; leaf < count; ++leaf) {
    if (trees.child[leaf] != kNone) continue;
    for (uint32_t i = leaf; trees.parent[i] != kNone; i = trees.parent[i]) {
      const uint32_t parent = trees.parent[i];
      trees.records[parent] += trees.records[i];
      trees.bytes[parent] += trees.bytes[i];
      trees.tokens[parent] += trees.tokens[i];
      if (--trees.children[parent] > 0) break;
    }
  }
  return trees;
}

uint64_t SharedTokens(const CatalogModel& model, const Trees& trees, uint32_t first) {
  uint64_t tokens = model.records[first].tokens;
  for (uint32_t i = trees.child[first]; i != kNone && i != kSeveral; i = trees.child[i])
    tokens += model.records[i].tokens;
  return tokens;
}

template <typename T>
void KeepLargest(std::vector<T>* items, size_t count) {
  const size_t kept = std::min(count, items->size());
  std::partial_sort(items->begin(), items->begin() + static_cast<ptrdiff_t>(kept), items->end(),
                    [](const T& a, const T& b) { return a.bytes > b.bytes; });
  items->resize(kept);
}

}  // namespace

ModelUsage SummarizeModel(const CatalogModel& model, size_t count) {
  ModelUsage summary;
  summary.orphans = model.records.size();
  std::vector<TenantSummary> tenants(model.roots.size());
  for (size_t i = 0; i < tenants.size(); ++i) tenants[i].root = model.roots[i];
  for (const CatalogRecord& record : model.records) {
    if (record.root == CatalogRecord::kNoRoot) continue;
    TenantSummary& tenant = tenants[record.root];
    ++tenant.records;
    tenant.bytes += record.bytes;
    tenant.tokens += record.tokens;
  }
  KeepLargest(&tenants, count);
  summary.tenants = std::move(tenants);

  const Trees trees = MakeTrees(model);
  struct First {
    uint32_t place;
    uint64_t bytes;
  };
  std::vector<First> firsts;
  for (uint32_t i = 0; i < model.records.size(); ++i) {
    if (trees.parent[i] != kNone) continue;
    ++summary.prefix_count;
    if (BeginsPrompt(model, model.records[i])) summary.orphans -= trees.records[i];
    firsts.push_back({i, trees.bytes[i]});
    if (firsts.size() >= 2 * count + 64) KeepLargest(&firsts, count);
  }
  KeepLargest(&firsts, count);
  for (const First& first : firsts) {
    summary.prefixes.push_back({.first = first.place,
                                .whole = BeginsPrompt(model, model.records[first.place]),
                                .records = trees.records[first.place],
                                .bytes = first.bytes,
                                .tokens = trees.tokens[first.place],
                                .shared_tokens = SharedTokens(model, trees, first.place)});
  }
  return summary;
}

}  // namespace prefixd
