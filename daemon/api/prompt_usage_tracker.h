// PromptUsageTracker: counts cached and computed tokens of the prompts of one request, for headers, usage and
// log.
//
// Threads: one owner.
//
// Invariants
//   1. cached + computed = prompt tokens, for each prompt and for their sum. A prompt counts once, with the
//      usage of its first sequence.
//   2. cached + written <= prompt tokens. What any sequence of a prompt has written counts, once.
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
  void AddPrompt(int tokens) { prompts_.push_back({tokens, std::nullopt, {}}); }
  void SetUsage(size_t prompt, const PromptUsage& usage) { At(prompt).usage = usage; }
  // Of sequence number `sequence` of the prompt. Later values replace earlier ones.
  void SetWritten(size_t prompt, size_t sequence, int tokens);

  bool HasUsage(size_t prompt) const { return At(prompt).usage.has_value(); }
  bool HasAllUsage() const;
  // Sums over all prompts. A prompt without usage counts as computed.
  TokenUsage Usage() const;  // without completion tokens
  PromptUsage TokensBySource() const;
  int CompleteTokens() const;  // of the prompts that the engine has computed to their end
  // The headers x-prefixd-*.
  HttpHeaders Headers() const;

 private:
  struct Prompt {
    int tokens;
    std::optional<PromptUsage> usage;
    std::vector<int> written;  // by sequence
  };
  Prompt& At(size_t prompt) {
    PREFIXD_CHECK(prompt < prompts_.size()) << prompt;
    return prompts_[prompt];
  }
  const Prompt& At(size_t prompt) const {
    PREFIXD_CHECK(prompt < prompts_.size()) << prompt;
    return prompts_[prompt];
  }

  std::vector<Prompt> prompts_;
};

}  // namespace prefixd
