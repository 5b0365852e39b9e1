// GeneratedIds: the token ids of recent answers. A request that sends an answer back may get the ids that
// were generated, where encoding the text would give other ones, for which the cache has no KV. It has
// nothing to do with KV: it acts alike with and without the cache.
//
// An answer is found by the text before it: by the place, which is the answer before that and everything
// before, and by the text between the two.
//
// Threads: any.
//
// Invariants
//   1. The answers take at most `max_bytes` together. When they take more, the scope with the most bytes
//      loses the answer that was used the longest ago.
//   2. An answer is found only in the scope that it was generated in.
//   3. A hash finds an answer and does not prove that its text is the one that was sent back: the caller
//      compares the texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/types.h"
#include "daemon/limit_table.h"

namespace prefixd {

// Where an answer begins.
struct AnswerPlace {
  uint64_t after = 0;  // the answer before it, with everything before; 0: there is none
  size_t gap = 0;      // bytes of text between the two
  uint64_t gap_hash = 0;
};
AnswerPlace PlaceAfter(uint64_t after, std::string_view gap);

class GeneratedIds {
 public:
  struct Match {
    size_t gap, length;  // bytes before the answer, and of the answer
    uint64_t after;      // the place of what follows it
    std::vector<TokenId> ids;
  };

  explicit GeneratedIds(size_t max_bytes = Limit<size_t>("generated-id-bytes")) : max_bytes_(max_bytes) {}

  void Put(std::string_view scope, const AnswerPlace& place, std::string_view text, std::vector<TokenId> ids)
      EXCLUDES(mutex_);
  // The answer that comes first in `text`, which follows the answer `after`; of several the longest, then the
  // latest.
  std::optional<Match> Find(std::string_view scope, uint64_t after, std::string_view text) EXCLUDES(mutex_);
  size_t bytes() const EXCLUDES(mutex_);

 private:
  struct Answer {
    AnswerPlace place;
    size_t length;
    uint64_t hash;  // of its text
    std::vector<TokenId> ids;
    // With the entries of containers, and a scope that has no other answer.
    size_t held_bytes() const { return 400 + ids.capacity() * sizeof(TokenId); }
  };
  using Answers = std::list<Answer>;  // the one used last is at the front
  struct Scope {
    Answers answers;
    std::unordered_multimap<uint64_t, Answers::iterator> by_place;  // AnswerPlace::after
    size_t bytes = 0;
  };
  using Scopes = std::map<std::string, Scope, std::less<>>;

  void Erase(Scope& scope, Answers::iterator answer) REQUIRES(mutex_);

  const size_t max_bytes_;
  mutable Mutex mutex_;
  Scopes scopes_ GUARDED_BY(mutex_);
  size_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd
