// PromptUsageTracker: counts cached and computed tokens of the prompts of one request, for headers, usage and
// log.
//
// Threads: one owner.
//
// Invariant: cached + computed = prompt tokens, for each prompt and for their sum. A prompt counts once, with
// the usage of its first sequence.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "base/check.h"
#include "daemon/api/response_format.h"
#include "daemon/http/exchange.h"
#include "engine/request.h"

namespace prefixd {

class PromptUsageTracker {
 public:
  // `block_tokens` is the block size of the cache; 0 means no cache.
  explicit PromptUsageTracker(int block_tokens) : block_tokens_(block_tokens) {}

  void AddPrompt(int tokens) { prompts_.push_back({tokens, std::nullopt}); }
  void SetUsage(size_t prompt, const PromptUsage& usage) { At(prompt).usage = usage; }

  bool HasUsage(size_t prompt) const { return At(prompt).usage.has_value(); }
  bool HasAllUsage() const;
  // Sums over all prompts. A prompt without usage counts as computed.
  TokenUsage Usage() const;  // without completion tokens
  PromptUsage TokensBySource() const;
  // The headers x-prefixd-*.
  HttpHeaders Headers() const;

 private:
  struct Prompt {
    int tokens;
    std::optional<PromptUsage> usage;
  };
  Prompt& At(size_t prompt) {
    PREFIXD_CHECK(prompt < prompts_.size()) << prompt;
    return prompts_[prompt];
  }
  const Prompt& At(size_t prompt) const {
    PREFIXD_CHECK(prompt < prompts_.size()) << prompt;
    return prompts_[prompt];
  }

  const int block_tokens_;
  std::vector<Prompt> prompts_;
};

}  // namespace prefixd
