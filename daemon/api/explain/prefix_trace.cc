#include "daemon/api/explain/prefix_trace.h"

#include <algorithm>

#include "base/prng.h"
#include "base/utf8.h"

namespace prefixd {

uint64_t PrefixTrace::StateWith(uint32_t unit) const {
  return SplitMix64(state_ ^ (uint64_t{unit} + 1) * 0x9FB21C651E98DF25u);
}

void PrefixTrace::Append(uint32_t unit) {
  state_ = StateWith(unit);
  fine_.push_back(static_cast<uint16_t>(state_));
  if (fine_.size() % kStretch == 0) marks_.push_back(state_);
}

size_t PrefixTrace::AppendText(std::string_view utf8) {
  const size_t before = size();
  for (size_t at = 0; at < utf8.size(); at += Utf8Length(utf8[at]))
    Append(static_cast<uint32_t>(Utf8At(utf8.data() + at)));
  return size() - before;
}

bool PrefixTrace::GoesOnIn(const PrefixTrace& other, uint32_t unit) const {
  return size() < other.size() && static_cast<uint16_t>(StateWith(unit)) == other.fine_[size()];
}

size_t PrefixTrace::held_bytes() const {
  return marks_.capacity() * sizeof(marks_[0]) + fine_.capacity() * sizeof(fine_[0]);
}

void PrefixTrace::ShrinkToFit() {
  marks_.shrink_to_fit();
  fine_.shrink_to_fit();
}

// A hash that is equal has equal hashes before it, so the first mark that differs is found by bisection.
size_t PrefixTrace::CommonLength(const PrefixTrace& a, const PrefixTrace& b) {
  size_t equal = 0, end = std::min(a.marks_.size(), b.marks_.size());
  while (equal < end) {
    const size_t middle = (equal + end) / 2;
    if (a.marks_[middle] == b.marks_[middle]) {
      equal = middle + 1;
    } else {
      end = middle;
    }
  }
  size_t length = equal * kStretch;
  const size_t shorter = std::min({a.size(), b.size(), length + kStretch});
  while (length < shorter && a.fine_[length] == b.fine_[length]) ++length;
  return length;
}

}  // namespace prefixd
