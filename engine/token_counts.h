// TokenCounts: the distinct tokens of a sequence, and how often the answer has each; the penalties are
// functions of them. It has one owner at a time. Each Add is O(1) expected per token; no call counts the
// sequence again.
//
// Invariants
//   1. A token has one entry, made when it was first added. `generated` is how often it was added as part of
//      the answer.
//   2. Memory is a few words for each distinct token.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "base/types.h"
#include "kernels/sampling.h"

namespace prefixd {

class TokenCounts {
 public:
  using Entry = TokenCount;

  void AddPrompt(std::span<const TokenId> tokens) {
    for (const TokenId token : tokens) EntryOf(token);
  }
  void AddGenerated(TokenId token) { ++EntryOf(token).generated; }

  // In order of first appearance.
  std::span<const Entry> entries() const { return entries_; }

 private:
  Entry& EntryOf(TokenId token) {
    const auto [at, is_new] = places_.try_emplace(token, entries_.size());
    if (is_new) entries_.push_back({token, 0});
    return entries_[at->second];
  }

  std::vector<Entry> entries_;
  std::unordered_map<TokenId, size_t> places_;  // in entries_
};

}  // namespace prefixd
