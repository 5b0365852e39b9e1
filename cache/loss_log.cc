#include "cache/loss_log.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace prefixd {
namespace {

constexpr double kUnitsPerSecond = 16;

// A bijection of 64 bits in which each bit of the result depends on all bits of `x` (the finalizer of
// MurmurHash3): keys of tests need not be hashes.
uint64_t Mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccd;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53;
  return x ^ x >> 33;
}

}  // namespace

LossLog::LossLog(size_t capacity) : buckets_(BucketsFor(capacity)) {}

size_t LossLog::BucketsFor(size_t capacity) {
  constexpr size_t kPlaces = std::tuple_size_v<Bucket>;
  return std::clamp<size_t>((capacity + kPlaces - 1) / kPlaces, 1, std::numeric_limits<uint32_t>::max());
}

size_t LossLog::MaxMemoryBytes(size_t capacity) { return BucketsFor(capacity) * sizeof(Bucket); }

const LossLog::Bucket& LossLog::BucketOf(const BlockKey& key, uint64_t* tag) const {
  const uint64_t hash = Mix(key.low ^ Mix(key.high));
  *tag = hash & ((uint64_t{1} << kTagBits) - 1);
  return buckets_[(hash >> 32) * buckets_.size() >> 32];
}

LossLog::Bucket& LossLog::BucketOf(const BlockKey& key, uint64_t* tag) {
  return const_cast<Bucket&>(std::as_const(*this).BucketOf(key, tag));
}

void LossLog::Add(const BlockKey& key, MissReason reason, double seconds) {
  uint64_t tag = 0;
  Bucket& bucket = BucketOf(key, &tag);
  const auto same = [tag](const Entry& entry) { return entry.reason == 0 || entry.tag == tag; };
  auto place = std::ranges::find_if(bucket, same);
  if (place == bucket.end()) --place;  // the one that was added the longest ago
  std::shift_right(bucket.begin(), place + 1, 1);
  constexpr double kMost = std::numeric_limits<uint32_t>::max();
  bucket[0] = {.tag = tag,
               .reason = static_cast<uint64_t>(reason) + 1,
               .when = static_cast<uint32_t>(std::clamp(seconds * kUnitsPerSecond, 0.0, kMost))};
}

void LossLog::Forget(const BlockKey& key) {
  uint64_t tag = 0;
  Bucket& bucket = BucketOf(key, &tag);
  const auto found = std::ranges::find_if(
      bucket, [tag](const Entry& entry) { return entry.reason != 0 && entry.tag == tag; });
  if (found == bucket.end()) return;
  std::shift_left(found, bucket.end(), 1);
  bucket.back() = {};
}

void LossLog::Clear() { std::ranges::fill(buckets_, Bucket{}); }

std::optional<LossLog::Loss> LossLog::Find(const BlockKey& key) const {
  uint64_t tag = 0;
  for (const Entry& entry : BucketOf(key, &tag)) {
    if (entry.reason == 0) break;
    if (entry.tag == tag)
      return Loss{static_cast<MissReason>(entry.reason - 1),
                  static_cast<double>(entry.when) / kUnitsPerSecond};
  }
  return std::nullopt;
}

}  // namespace prefixd
