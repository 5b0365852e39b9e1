// How the prompts of one request were served, for headers, usage and log. One owner.
//
// Invariant: cached + computed = prompt tokens, for each prompt and for their sum. A prompt counts once, as
// its first sequence found it.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "daemon/api/response_format.h"
#include "daemon/http/exchange.h"
#include "engine/request.h"

namespace prefixd {

class PromptFigures {
 public:
  // `block_tokens`: of the cache; 0: none.
  explicit PromptFigures(int block_tokens) : block_tokens_(block_tokens) {}

  void AddPrompt(int tokens) { prompts_.push_back({tokens, std::nullopt}); }
  void SetUsage(size_t prompt, const PromptUsage& usage) { prompts_[prompt].usage = usage; }

  bool Known(size_t prompt) const { return prompts_[prompt].usage.has_value(); }
  bool AllKnown() const;
  // Over all prompts; those not known yet count as computed.
  UsageFigures Usage() const;  // without completion tokens
  PromptUsage Sources() const;
  // x-prefixd-*
  HttpHeaders Headers() const;

 private:
  struct Prompt {
    int tokens;
    std::optional<PromptUsage> usage;
  };
  const int block_tokens_;
  std::vector<Prompt> prompts_;
};

}  // namespace prefixd
