#include "cache/prefix_scan.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {
namespace {

// Equal worth is ordered by key, so that the result does not depend on the numbers of nodes.
bool IsWorthMore(const PrefixRow& a, const PrefixRow& b) {
  return a.worth() != b.worth() ? a.worth() > b.worth() : a.key < b.key;
}

}  // namespace

bool PrefixScan::Wants(uint64_t worth) const {
  return rows_.size() < most_rows_ || (most_rows_ > 0 && worth >= rows_.front().worth());
}

void PrefixScan::Add(const PrefixRow& row) {
  PREFIXD_CHECK(Wants(row.worth())) << row.worth();
  rows_.push_back(row);
  std::ranges::push_heap(rows_, IsWorthMore);
  if (rows_.size() <= most_rows_) return;
  std::ranges::pop_heap(rows_, IsWorthMore);
  rows_.pop_back();
}

void PrefixScan::BeginPaths() {
  PREFIXD_CHECK(!on_paths_);
  on_paths_ = true;
  std::ranges::sort(rows_, IsWorthMore);
  for (size_t i = 0; i < rows_.size(); ++i) row_of_node_[rows_[i].node] = static_cast<int>(i);
  NextPath();
}

void PrefixScan::NextPath() {
  place_ = {};
  if (next_path_ == rows_.size()) return;
  PrefixRow& row = rows_[next_path_++];
  place_ = {.row = &row, .node = row.node, .key = row.key};
}

int PrefixScan::RowAt(NodeId node, const BlockKey& key) const {
  const auto found = row_of_node_.find(node);
  return found != row_of_node_.end() && rows_[static_cast<size_t>(found->second)].key == key ? found->second
                                                                                             : -1;
}

std::vector<PrefixRow> PrefixScan::Rows() const {
  std::vector<PrefixRow> rows = rows_;
  std::ranges::sort(rows, IsWorthMore);
  return rows;
}

}  // namespace prefixd
