#include "cache/use_times.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr double kFinest = 1;              // seconds between two times
constexpr double kShareOfAge = 1.0 / 100;  // a longer distance is allowed for times of that age

}  // namespace

void UseTimes::Note(uint64_t number, double seconds) {
  if (!times_.empty() && (number <= times_.back().number || seconds < times_.back().seconds + kFinest))
    return;
  if (times_.empty()) times_.reserve(kMost);
  if (times_.size() == kMost) Thin();
  times_.push_back({.number = number, .seconds = seconds});
}

// Removes each time whose neighbours are near enough to each other. A year leaves fewer than 4,000 times:
// half of kShareOfAge is kept between two of them, for each doubling of the age as many.
void UseTimes::Thin() {
  const double newest = times_.back().seconds;
  size_t kept = 1;  // of the first times, in place
  for (size_t i = 1; i + 1 < times_.size(); ++i) {
    const double before = times_[kept - 1].seconds, after = times_[i + 1].seconds;
    if (after - before > std::max(kFinest, kShareOfAge * (newest - after))) times_[kept++] = times_[i];
  }
  times_[kept++] = times_.back();
  times_.resize(kept);
  // After so many years that this was not enough, the oldest go.
  if (kept > kMost / 2) times_.erase(times_.begin(), times_.end() - kMost / 2);
}

std::optional<double> UseTimes::Of(uint64_t number) const {
  const auto after = std::upper_bound(times_.begin(), times_.end(), number,
                                      [](uint64_t n, const Time& time) { return n < time.number; });
  if (after == times_.begin()) return std::nullopt;
  return std::prev(after)->seconds;
}

void UseTimes::CheckInvariants() const {
  PREFIXD_CHECK(times_.size() <= kMost) << times_.size();
  for (size_t i = 1; i < times_.size(); ++i) {
    PREFIXD_CHECK(times_[i - 1].number < times_[i].number) << "at " << i;
    PREFIXD_CHECK(times_[i - 1].seconds + kFinest <= times_[i].seconds) << "at " << i;
  }
}

}  // namespace prefixd
