// CacheModel: the specification of PrefixCache, written with plain vectors and linear searches. It works on
// prefixes instead of blocks and keys, so it is valid only where no keys collide.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/prefix_cache.h"

namespace prefixd {

class CacheModel {
 public:
  using Tokens = std::vector<TokenId>;
  using State = PrefixCache::AcquireState;
  // The number of the root, then the tokens from the root to the end of a block.
  using Prefix = std::vector<TokenId>;

  struct Sequence {
    int id = 0;
    TokenId root = 0;
    int in_tree = 0;  // blocks
    int table = 0;    // blocks
    int ready = 0;
    bool reads = true;
    bool settled = false;
    bool waited = false;
    bool uncertain = false;  // it has a copied part since the last EndStep
  };
  struct Acquired {
    State state = State::kReady;
    int device_tokens = 0;
    int shared_tokens = 0;
  };

  CacheModel(int block_tokens, uint32_t blocks)
      : block_tokens_(block_tokens), capacity_(blocks), free_(blocks) {}

  // `source`: the tokens of the block that the cache copied from, if it copied a block.
  Acquired Acquire(Sequence& seq, const Tokens& tokens, int limit, const std::optional<Tokens>& source) {
    if (seq.settled) return {};
    if (!seq.reads) {
      // It claims blocks up to the first that is in the tree or claimed by another.
      for (int i = 0; HasFullBlock(tokens, i); ++i) {
        const Prefix prefix = PrefixOf(seq, tokens, i + 1);
        if (Find(prefix) != nullptr || ClaimedBy(prefix)) break;
        claims_.emplace_back(prefix, seq.id);
      }
      seq.settled = true;
      return {};
    }
    const int before = seq.ready;
    while (seq.ready + block_tokens_ <= limit) {
      Entry* entry = Find(PrefixOf(seq, tokens, seq.in_tree + 1));
      if (entry == nullptr) break;
      ++entry->references;
      ReplaceOrAdd(seq);
      ++seq.in_tree;
      seq.ready += block_tokens_;
    }
    const bool waited = seq.waited;
    State state = State::kReady;
    if (seq.ready < limit && HasFullBlock(tokens, seq.in_tree) &&
        Find(PrefixOf(seq, tokens, seq.in_tree + 1)) == nullptr &&
        ClaimedBy(PrefixOf(seq, tokens, seq.in_tree + 1)).has_value()) {
      seq.waited = true;
      state = State::kWaiting;
    } else {
      for (int i = seq.in_tree; HasFullBlock(tokens, i); ++i) {
        const Prefix prefix = PrefixOf(seq, tokens, i + 1);
        if (Find(prefix) == nullptr && !ClaimedBy(prefix)) claims_.emplace_back(prefix, seq.id);
      }
      if (seq.ready < limit) CopyPart(seq, tokens, limit, source);
      seq.settled = true;
      seq.waited = false;
    }
    const int taken = seq.ready - before;
    return {state, waited ? 0 : taken, waited ? taken : 0};
  }

  void EndStep(Sequence& seq, bool ok) {
    if (!std::exchange(seq.uncertain, false) || ok) return;
    seq.ready = seq.in_tree * block_tokens_;
  }

  // The reason of each token of tokens[seq.ready, end).
  std::vector<MissReason> Explain(const Sequence& seq, const Tokens& tokens) {
    std::vector<MissReason> reasons;
    if (!seq.reads) {
      reasons.assign(tokens.size() - static_cast<size_t>(seq.ready), MissReason::kDisabled);
      return reasons;
    }
    for (int i = seq.ready; i < static_cast<int>(tokens.size()); ++i) {
      const int block = i / block_tokens_;
      if (!HasFullBlock(tokens, block)) {
        reasons.push_back(MissReason::kBlockTail);
        continue;
      }
      const Prefix prefix = PrefixOf(seq, tokens, block + 1);
      const bool cached =
          std::ranges::any_of(entries_, [&](const Entry& entry) { return entry.prefix == prefix; });
      const bool seen = std::find(evicted_.begin(), evicted_.end(), prefix) != evicted_.end();
      reasons.push_back(cached ? MissReason::kBlockTail
                        : seen ? MissReason::kEvictedDevice
                               : MissReason::kNeverSeen);
    }
    return reasons;
  }

  bool Reserve(Sequence& seq, int tokens) {
    const int wanted = (tokens + block_tokens_ - 1) / block_tokens_;
    if (wanted - seq.table > static_cast<int>(free_ + cached_blocks())) return false;
    for (; seq.table < wanted; ++seq.table) PREFIXD_CHECK(TakeBlock());
    return true;
  }

  void Commit(Sequence& seq, const Tokens& tokens) {
    for (; HasFullBlock(tokens, seq.in_tree); ++seq.in_tree) {
      const Prefix prefix = PrefixOf(seq, tokens, seq.in_tree + 1);
      if (Entry* entry = Find(prefix)) {
        ++entry->references;
        ++free_;
        ++deduplicated;
      } else {
        entries_.push_back({.prefix = prefix, .references = 1});
        std::erase_if(claims_, [&](const auto& claim) { return claim.first == prefix; });
        ++committed;
      }
    }
    seq.ready = static_cast<int>(tokens.size());
  }

  // Ends `seq`.
  void Release(const Sequence& seq, const Tokens& tokens) {
    std::erase_if(claims_, [&](const auto& claim) { return claim.second == seq.id; });
    free_ += static_cast<uint32_t>(seq.table - seq.in_tree);
    std::vector<Prefix> path;
    for (int i = 1; i <= seq.in_tree; ++i) path.push_back(PrefixOf(seq, tokens, i));
    Dereference(path);
  }

  uint32_t free_blocks() const { return free_; }
  uint32_t cached_blocks() const {
    return static_cast<uint32_t>(std::ranges::count(entries_, 0, &Entry::references));
  }
  uint32_t leased_blocks() const { return capacity_ - free_ - cached_blocks(); }

  uint64_t committed = 0;
  uint64_t deduplicated = 0;
  uint64_t evicted = 0;

 private:
  struct Entry {
    Prefix prefix;
    int references = 0;
    uint64_t used = 0;
  };
  bool HasFullBlock(const Tokens& tokens, int index) const {
    return (index + 1) * block_tokens_ <= static_cast<int>(tokens.size());
  }
  Prefix PrefixOf(const Sequence& seq, const Tokens& tokens, int blocks) const {
    Prefix prefix{seq.root};
    prefix.insert(prefix.end(), tokens.begin(), tokens.begin() + blocks * block_tokens_);
    return prefix;
  }
  Entry* Find(const Prefix& prefix) {
    const auto it = std::ranges::find(entries_, prefix, &Entry::prefix);
    return it == entries_.end() ? nullptr : &*it;
  }
  std::optional<int> ClaimedBy(const Prefix& prefix) const {
    for (const auto& [claimed, id] : claims_) {
      if (claimed == prefix) return id;
    }
    return std::nullopt;
  }
  // Puts a block into the table: at its end, or in place of a reserved block, which is freed.
  void ReplaceOrAdd(Sequence& seq) {
    if (seq.table > seq.in_tree) {
      ++free_;
    } else {
      ++seq.table;
    }
  }
  static bool StartsWith(const Prefix& whole, const Prefix& start) {
    return whole.size() > start.size() && std::equal(start.begin(), start.end(), whole.begin());
  }
  bool TakeBlock() {
    if (free_ > 0) {
      --free_;
      return true;
    }
    Entry* victim = nullptr;
    for (Entry& entry : entries_) {
      const bool leaf =
          std::ranges::none_of(entries_, [&](const Entry& e) { return StartsWith(e.prefix, entry.prefix); });
      if (leaf && entry.references == 0 && (victim == nullptr || entry.used < victim->used)) victim = &entry;
    }
    if (victim == nullptr) return false;
    evicted_.push_back(victim->prefix);
    entries_.erase(entries_.begin() + (victim - entries_.data()));
    ++evicted;
    return true;
  }
  void CopyPart(Sequence& seq, const Tokens& tokens, int limit, const std::optional<Tokens>& source) {
    const Prefix at = PrefixOf(seq, tokens, seq.in_tree);
    const auto shared = [&](const Prefix& prefix) {
      int n = 0;
      while (n < block_tokens_ && seq.ready + n < limit &&
             prefix[at.size() + static_cast<size_t>(n)] == tokens[static_cast<size_t>(seq.ready + n)]) {
        ++n;
      }
      return n;
    };
    int best = 0;
    for (const Entry& entry : entries_) {
      if (entry.prefix.size() == at.size() + static_cast<size_t>(block_tokens_) &&
          StartsWith(entry.prefix, at)) {
        best = std::max(best, shared(entry.prefix));
      }
    }
    if (best == 0) {
      PREFIXD_CHECK(!source);
      return;
    }
    if (!source) {  // no block for the target: the cache touched a source that the model does not know
      PREFIXD_CHECK(free_ == 0);
      return;
    }
    Prefix from = at;
    from.insert(from.end(), source->begin(), source->end());
    PREFIXD_CHECK(Find(from) != nullptr && shared(from) == best);
    ++Find(from)->references;
    if (seq.table == seq.in_tree) {  // else the target is a block that was reserved already
      ++seq.table;
    } else {
      ++free_;
    }
    PREFIXD_CHECK(TakeBlock());
    Dereference({from});
    seq.ready += best;
    seq.uncertain = true;
  }
  void Dereference(const std::vector<Prefix>& prefixes) {
    ++now_;
    for (const Prefix& prefix : prefixes) {
      --Find(prefix)->references;
      Find(prefix)->used = now_;
    }
  }

  const int block_tokens_;
  const uint32_t capacity_;
  uint32_t free_;
  uint64_t now_ = 0;
  std::vector<Entry> entries_;
  std::vector<std::pair<Prefix, int>> claims_;
  std::vector<Prefix> evicted_;
};

}  // namespace prefixd
