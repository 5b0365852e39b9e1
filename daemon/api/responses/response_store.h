// ResponseStore: the responses of /v1/responses that clients may refer to later. In memory alone: a restart
// forgets them.
//
// Threads: any.
//
// Invariants
//   1. At most `max_responses` are kept, and their texts take at most `max_bytes` together, their ids and the
//      store's own nodes included. A response that makes the store larger evicts those that were used the
//      longest ago; one that is too large alone is not kept.
//   2. A response is found only by the owner that stored it.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/mutex.h"
#include "daemon/limit_table.h"

namespace prefixd {

struct StoredResponse {
  std::string response;  // the JSON object as it was sent
  std::string input;  // a JSON array: all items that the model was shown, those of earlier responses included
};

class ResponseStore {
 public:
  explicit ResponseStore(size_t max_bytes = Limit<size_t>("stored-response-bytes"),
                         size_t max_responses = Limit<size_t>("stored-responses"))
      : max_bytes_(max_bytes), max_responses_(max_responses) {}

  // Replaces a response of the same owner and id.
  void Put(std::string_view owner, std::string_view id, StoredResponse response) EXCLUDES(mutex_);
  // Null when the owner has no such response. The result outlives an eviction.
  std::shared_ptr<const StoredResponse> Find(std::string_view owner, std::string_view id) EXCLUDES(mutex_);
  bool Erase(std::string_view owner, std::string_view id) EXCLUDES(mutex_);
  size_t bytes() const EXCLUDES(mutex_);
  size_t size() const EXCLUDES(mutex_);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const StoredResponse> response;
  };
  using Entries = std::list<Entry>;  // the one used last is at the front

  static std::string KeyOf(std::string_view owner, std::string_view id);
  static size_t BytesOf(const Entry& entry);
  void EraseLocked(Entries::iterator entry) REQUIRES(mutex_);

  const size_t max_bytes_, max_responses_;
  mutable Mutex mutex_;
  Entries entries_ GUARDED_BY(mutex_);
  std::unordered_map<std::string_view, Entries::iterator> by_key_ GUARDED_BY(mutex_);
  size_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd
