#include "daemon/api/responses/response_store.h"

#include <iterator>
#include <utility>

namespace prefixd {

// The length in front keeps owners apart whatever their bytes are.
std::string ResponseStore::KeyOf(std::string_view owner, std::string_view id) {
  return std::to_string(owner.size()) + ":" + std::string(owner) + std::string(id);
}

size_t ResponseStore::BytesOf(const Entry& entry) {
  constexpr size_t kNodes = 256;  // of the list, the table and the shared pointer
  return kNodes + entry.key.capacity() + entry.response->response.capacity() +
         entry.response->input.capacity();
}

void ResponseStore::Put(std::string_view owner, std::string_view id, StoredResponse response) {
  response.response.shrink_to_fit();
  response.input.shrink_to_fit();
  Entry entry{KeyOf(owner, id), std::make_shared<const StoredResponse>(std::move(response))};
  const size_t bytes = BytesOf(entry);
  MutexLock lock(mutex_);
  if (const auto before = by_key_.find(entry.key); before != by_key_.end()) EraseLocked(before->second);
  if (bytes > max_bytes_) return;
  while (!entries_.empty() && (bytes_ + bytes > max_bytes_ || entries_.size() >= max_responses_))
    EraseLocked(std::prev(entries_.end()));
  entries_.push_front(std::move(entry));
  by_key_.emplace(entries_.front().key, entries_.begin());
  bytes_ += bytes;
}

std::shared_ptr<const StoredResponse> ResponseStore::Find(std::string_view owner, std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = by_key_.find(KeyOf(owner, id));
  if (found == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return entries_.front().response;
}

bool ResponseStore::Erase(std::string_view owner, std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = by_key_.find(KeyOf(owner, id));
  if (found == by_key_.end()) return false;
  EraseLocked(found->second);
  return true;
}

void ResponseStore::EraseLocked(Entries::iterator entry) {
  bytes_ -= BytesOf(*entry);
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

size_t ResponseStore::bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

size_t ResponseStore::size() const {
  MutexLock lock(mutex_);
  return entries_.size();
}

}  // namespace prefixd
