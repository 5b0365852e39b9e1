#include "daemon/api/generated_ids.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/fnv.h"

namespace prefixd {

AnswerPlace PlaceAfter(std::string_view text) { return {text.size(), FnvAdd(kFnvEmpty, text)}; }

AnswerScope ScopeOfAnswers(std::string owner, std::string_view cache_salt) {
  return {std::move(owner), Sha256(cache_salt)};
}

void GeneratedIds::Put(const AnswerKey& key, std::vector<TokenId> ids) {
  ids.shrink_to_fit();
  Answer answer{{key.scope.salt, key.place}, std::make_shared<const std::vector<TokenId>>(std::move(ids))};
  const size_t bytes = answer.held_bytes();
  if (answer.ids->empty() || bytes > max_bytes_ / 4) return;
  MutexLock lock(mutex_);
  Owned& owned = owners_.try_emplace(key.scope.owner).first->second;
  const std::vector<Answers::iterator>& others = owned.places[answer.key];
  const auto same =
      std::ranges::find_if(others, [&](const auto& other) { return *other->ids == *answer.ids; });
  if (same != others.end()) return owned.answers.splice(owned.answers.begin(), owned.answers, *same);
  owned.answers.push_front(std::move(answer));
  owned.places[owned.answers.front().key].push_back(owned.answers.begin());
  owned.bytes += bytes;
  bytes_ += bytes;
  if (others.size() > kMostAtPlace) Erase(owned, others.front());
  while (bytes_ > max_bytes_) {
    const auto most = std::ranges::max_element(
        owners_, {}, [](const Owners::value_type& entry) { return entry.second.bytes; });
    Erase(most->second, std::prev(most->second.answers.end()));
    if (most->second.answers.empty()) owners_.erase(most);
  }
}

void GeneratedIds::Erase(Owned& owned, Answers::iterator answer) {
  const auto place = owned.places.find(answer->key);
  std::erase(place->second, answer);
  if (place->second.empty()) owned.places.erase(place);
  owned.bytes -= answer->held_bytes();
  bytes_ -= answer->held_bytes();
  owned.answers.erase(answer);
}

std::vector<AnswerPlace> GeneratedIds::Sizes(const AnswerScope& scope, size_t most) const {
  std::vector<AnswerPlace> sizes;
  MutexLock lock(mutex_);
  const auto owner = owners_.find(scope.owner);
  if (owner == owners_.end()) return sizes;
  const auto& places = owner->second.places;
  for (auto it = places.lower_bound({scope.salt, {}}); it != places.end(); ++it) {
    const auto& [salt, place] = it->first;
    if (salt != scope.salt || place.bytes > most) break;
    if (sizes.empty() || sizes.back().bytes < place.bytes) sizes.push_back({place.bytes, 0});
  }
  return sizes;
}

// The text is hashed once, without the lock.
std::vector<PlacedAnswers> GeneratedIds::Find(const AnswerScope& scope, std::string_view text) {
  std::vector<AnswerPlace> places = Sizes(scope, text.size());
  uint64_t hash = kFnvEmpty;
  size_t at = 0;
  for (AnswerPlace& place : places) {
    hash = FnvAdd(hash, text.substr(at, place.bytes - at));
    at = place.bytes;
    place.hash = hash;
  }
  std::vector<PlacedAnswers> found;
  MutexLock lock(mutex_);
  const auto owner = owners_.find(scope.owner);
  if (owner == owners_.end()) return found;
  Owned& owned = owner->second;
  // The answers at the end of a conversation are forgotten before those that they need.
  for (auto place = places.rbegin(); place != places.rend(); ++place) {
    const auto entry = owned.places.find({scope.salt, *place});
    if (entry == owned.places.end()) continue;
    found.push_back({.begin = place->bytes, .answers = {}});
    for (const Answers::iterator& answer : entry->second) {
      found.back().answers.push_back(answer->ids);
      owned.answers.splice(owned.answers.begin(), owned.answers, answer);
    }
  }
  std::ranges::reverse(found);
  return found;
}

size_t GeneratedIds::bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace prefixd
