// RequestMemory: the records of recent requests, by which later ones are explained. In memory alone: a
// restart forgets them. A record has hashes, offsets and counts, never a text.
//
// Threads: any.
//
// Invariants
//   1. The records take at most `max_bytes` together, and there are at most `max_requests` for each owner.
//      When there are more bytes, the owner with the most bytes loses its oldest record.
//   2. A record is found only by the owner that it belongs to.
//   3. A record that takes more than a quarter of `max_bytes` is not kept.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "daemon/api/explain/prompt_record.h"
#include "daemon/limit_table.h"

namespace prefixd {

class RequestMemory {
 public:
  using Record = std::shared_ptr<const PromptRecord>;

  explicit RequestMemory(size_t max_bytes = Limit<size_t>("remembered-request-bytes"),
                         size_t max_requests = Limit<size_t>("remembered-requests"))
      : max_bytes_(max_bytes), max_requests_(max_requests) {}

  // Replaces the record of the same owner and id.
  void Put(std::string_view owner, Record record) EXCLUDES(mutex_);
  // Null when the owner has no such record, or not any more.
  Record Find(std::string_view owner, std::string_view id) const EXCLUDES(mutex_);
  // The record that has the most tokens in common with the begin of a prompt; of several the latest. One with
  // another salt only if none with the same salt has a token in common. If the prompt has a key, and records
  // have the same one, it is one of these. Null when there is none.
  Record Nearest(std::string_view owner, const PromptRecord& prompt) const EXCLUDES(mutex_);
  // What the records with a key have found together.
  struct OfKey {
    uint64_t requests = 0, prompt_tokens = 0, cached_tokens = 0;
  };
  OfKey Sum(std::string_view owner, uint64_t key) const EXCLUDES(mutex_);
  size_t bytes() const EXCLUDES(mutex_);
  size_t size() const EXCLUDES(mutex_);

 private:
  struct Owned {
    std::deque<Record> records;  // the newest first
    size_t bytes = 0;
  };
  using Owners = std::map<std::string, Owned, std::less<>>;

  void DropOldest(Owners::iterator owner) REQUIRES(mutex_);

  const size_t max_bytes_, max_requests_;
  mutable Mutex mutex_;
  Owners owners_ GUARDED_BY(mutex_);
  size_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd
