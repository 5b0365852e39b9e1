// GeneratedIds: the token ids of recent answers. A request that sends an answer back may get the ids that
// were generated, where encoding the text would give other ones, for which the cache has no KV. It has
// nothing to do with KV: it acts alike with and without the cache.
//
// An answer is found by the text before it. It is remembered as ids alone, never as a text.
//
// Threads: any.
//
// Invariants
//   1. The answers take at most `max_bytes` together. When they take more, the owner with the most bytes
//      loses the answer that was used the longest ago.
//   2. An answer is found only by the owner and with the salt that it was generated for.
//   3. A hash finds an answer and does not prove that its text is the one that was sent back: the caller
//      compares the texts.
//   4. A place has at most kMostAtPlace answers, the latest.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/types.h"
#include "daemon/api/digest.h"
#include "daemon/limit_table.h"

namespace prefixd {

// Where an answer begins: behind a text, from the beginning of the prompt.
struct AnswerPlace {
  size_t bytes = 0;
  uint64_t hash = 0;
  auto operator<=>(const AnswerPlace&) const = default;
};
AnswerPlace PlaceAfter(std::string_view text);

// For whom an answer is generated. A salt separates the users of a key.
struct AnswerScope {
  std::string owner;
  Digest salt{};
};
AnswerScope ScopeOfAnswers(std::string owner, std::string_view cache_salt);

// What the answer to a prompt is remembered by.
struct AnswerKey {
  AnswerScope scope;
  AnswerPlace place;
};

using AnswerIds = std::shared_ptr<const std::vector<TokenId>>;

// The answers that were generated at one place of a text, in the order in which they came.
struct PlacedAnswers {
  size_t begin = 0;  // bytes of the text before them
  std::vector<AnswerIds> answers;
};

class GeneratedIds {
 public:
  static constexpr size_t kMostAtPlace = 32;

  explicit GeneratedIds(size_t max_bytes = Limit<size_t>("generated-id-bytes")) : max_bytes_(max_bytes) {}

  // An answer that takes more than a quarter of `max_bytes` is not remembered.
  void Put(const AnswerKey& key, std::vector<TokenId> ids) EXCLUDES(mutex_);
  // The places of `text` at which answers were generated, from its beginning to its end.
  std::vector<PlacedAnswers> Find(const AnswerScope& scope, std::string_view text) EXCLUDES(mutex_);
  size_t bytes() const EXCLUDES(mutex_);

 private:
  struct Key {
    Digest salt{};
    AnswerPlace place;
    auto operator<=>(const Key&) const = default;
  };
  struct Answer {
    Key key;
    AnswerIds ids;
    // With the entries of containers, and a place and an owner that have no other answer.
    size_t held_bytes() const { return 640 + ids->capacity() * sizeof(TokenId); }
  };
  using Answers = std::list<Answer>;  // the one used last is at the front
  struct Owned {
    Answers answers;
    std::map<Key, std::vector<Answers::iterator>> places;
    size_t bytes = 0;
  };
  using Owners = std::map<std::string, Owned, std::less<>>;

  // The sizes of the texts, up to `most` bytes, behind which the scope has an answer; ascending.
  std::vector<AnswerPlace> Sizes(const AnswerScope& scope, size_t most) const EXCLUDES(mutex_);
  void Erase(Owned& owned, Answers::iterator answer) REQUIRES(mutex_);

  const size_t max_bytes_;
  mutable Mutex mutex_;
  Owners owners_ GUARDED_BY(mutex_);
  size_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd
