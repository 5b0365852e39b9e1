#include "daemon/api/generated_ids.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "base/fnv.h"
#include "base/prng.h"

namespace prefixd {

namespace {

uint64_t HashOf(std::string_view text) { return FnvAdd(kFnvEmpty, text); }

// The hashes of the begins of `text` that have these lengths, of which those are left out that it lacks.
using Hashes = std::map<size_t, uint64_t>;
void SetHashes(std::string_view text, Hashes* hashes) {
  hashes->erase(hashes->upper_bound(text.size()), hashes->end());
  uint64_t hash = kFnvEmpty;
  size_t at = 0;
  for (auto& [length, of_length] : *hashes) {
    hash = FnvAdd(hash, text.substr(at, length - at));
    at = length;
    of_length = hash;
  }
}

bool Has(const Hashes& hashes, size_t length, uint64_t hash) {
  const auto found = hashes.find(length);
  return found != hashes.end() && found->second == hash;
}

// The place after an answer.
uint64_t After(const AnswerPlace& place, uint64_t answer_hash) {
  const uint64_t hash = SplitMix64(SplitMix64(place.after ^ place.gap_hash) ^ answer_hash);
  return hash == 0 ? 1 : hash;
}

}  // namespace

AnswerPlace PlaceAfter(uint64_t after, std::string_view gap) { return {after, gap.size(), HashOf(gap)}; }

void GeneratedIds::Put(std::string_view scope, const AnswerPlace& place, std::string_view text,
                       std::vector<TokenId> ids) {
  ids.shrink_to_fit();
  Answer answer{place, text.size(), HashOf(text), std::move(ids)};
  const size_t bytes = answer.held_bytes();
  if (answer.ids.empty() || bytes > max_bytes_ / 4) return;
  MutexLock lock(mutex_);
  Scope& kept = scopes_.try_emplace(std::string(scope)).first->second;
  const auto [begin, end] = kept.by_place.equal_range(place.after);
  const auto same = std::find_if(begin, end, [&](const auto& entry) {
    const Answer& other = *entry.second;
    return std::tie(other.place.gap, other.place.gap_hash, other.length, other.hash) ==
           std::tie(place.gap, place.gap_hash, answer.length, answer.hash);
  });
  if (same != end) Erase(kept, same->second);
  kept.answers.push_front(std::move(answer));
  kept.by_place.emplace(place.after, kept.answers.begin());
  kept.bytes += bytes;
  bytes_ += bytes;
  while (bytes_ > max_bytes_) {
    const auto most = std::max_element(scopes_.begin(), scopes_.end(), [](const auto& a, const auto& b) {
      return a.second.bytes < b.second.bytes;
    });
    Erase(most->second, std::prev(most->second.answers.end()));
    if (most->second.answers.empty()) scopes_.erase(most);
  }
}

void GeneratedIds::Erase(Scope& scope, Answers::iterator answer) {
  const auto [begin, end] = scope.by_place.equal_range(answer->place.after);
  scope.by_place.erase(std::find_if(begin, end, [&](const auto& entry) { return entry.second == answer; }));
  scope.bytes -= answer->held_bytes();
  bytes_ -= answer->held_bytes();
  scope.answers.erase(answer);
}

std::optional<GeneratedIds::Match> GeneratedIds::Find(std::string_view scope, uint64_t after,
                                                      std::string_view text) {
  MutexLock lock(mutex_);
  const auto kept = scopes_.find(scope);
  if (kept == scopes_.end()) return std::nullopt;
  Answers& answers = kept->second.answers;
  Answers::iterator best = answers.end();
  const auto [begin, end] = kept->second.by_place.equal_range(after);
  // The text is read once for the gaps, and once for the answers behind each gap that it has.
  Hashes gaps;
  for (auto entry = begin; entry != end; ++entry) gaps[entry->second->place.gap];
  SetHashes(text, &gaps);
  std::map<size_t, std::vector<Answers::iterator>> behind;  // by gap
  for (auto entry = begin; entry != end; ++entry) {
    const AnswerPlace& place = entry->second->place;
    if (Has(gaps, place.gap, place.gap_hash)) behind[place.gap].push_back(entry->second);
  }
  for (const auto& [gap, candidates] : behind) {
    Hashes lengths;
    for (const Answers::iterator answer : candidates) lengths[answer->length];
    SetHashes(text.substr(gap), &lengths);
    for (const Answers::iterator answer : candidates) {
      if (!Has(lengths, answer->length, answer->hash)) continue;
      if (best == answers.end() || answer->length > best->length) best = answer;
    }
    if (best != answers.end()) break;
  }
  if (best == answers.end()) return std::nullopt;
  answers.splice(answers.begin(), answers, best);
  return Match{best->place.gap, best->length, After(best->place, best->hash), best->ids};
}

size_t GeneratedIds::bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace prefixd
