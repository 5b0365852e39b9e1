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

std::vector<PrefixRow> PrefixScan::Rows() const {
  std::vector<PrefixRow> rows = rows_;
  std::ranges::sort(rows, IsWorthMore);
  return rows;
}

}  // namespace prefixd
