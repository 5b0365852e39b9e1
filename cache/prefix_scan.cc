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
  for (size_t i = 0; i < rows_.size(); ++i) {
    row_of_node_[rows_[i].node] = static_cast<int>(i);
    rest_of_tenants_[rows_[i].root.high] = 0;
  }
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

void PrefixScan::SetMark(NodeId node, int mark) {
  const size_t chunk = node / kChunkNodes;
  if (chunk >= marks_.size()) marks_.resize(chunk + 1);
  if (marks_[chunk] == nullptr) marks_[chunk] = std::make_unique<std::array<Mark, kChunkNodes>>();
  (*marks_[chunk])[node % kChunkNodes] = static_cast<Mark>(mark);
}

void PrefixScan::AddOwn(NodeId node) {
  const int row = static_cast<int>(next_path_) - 1;
  ++place_.row->own_blocks;
  SetMark(node, node == place_.row->node ? 2 + row : -1 - row);
}

std::optional<int> PrefixScan::RowAbove(NodeId node) const {
  const size_t chunk = node / kChunkNodes;
  if (chunk >= marks_.size() || marks_[chunk] == nullptr) return std::nullopt;
  const int mark = (*marks_[chunk])[node % kChunkNodes];
  if (mark == 0) return std::nullopt;
  return mark > 0 ? mark - 2 : rows_[static_cast<size_t>(-1 - mark)].parent;
}

void PrefixScan::AddRest(NodeId node, int row, uint64_t tenant) {
  SetMark(node, 2 + row);
  if (row >= 0) {
    ++rows_[static_cast<size_t>(row)].rest_blocks;
  } else if (const auto known = rest_of_tenants_.find(tenant); known != rest_of_tenants_.end()) {
    ++known->second;
  } else {
    ++rest_of_others_;
  }
}

std::vector<PrefixRow> PrefixScan::Rows() const {
  std::vector<PrefixRow> rows = rows_;
  std::ranges::sort(rows, IsWorthMore);
  return rows;
}

}  // namespace prefixd
