#include "engine/answer.h"

#include <algorithm>
#include <utility>

namespace prefixd {
namespace {

bool Contains(std::span<const TokenId> ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

std::optional<FinishReason> Ending(const Sequence& s, TokenId token, const AnswerLimits& limits) {
  const SamplingParams& params = s.request.sampling;
  if (s.constraint && s.constraint->ended()) return FinishReason::kStop;
  if (s.generated() >= params.min_tokens) {
    if (!params.ignore_eos && Contains(limits.eos, token)) return FinishReason::kStop;
    if (Contains(params.stop_token_ids, token)) return FinishReason::kStop;
  }
  if (s.generated() >= params.max_tokens || static_cast<int>(s.tokens.size()) >= limits.context)
    return FinishReason::kLength;
  return std::nullopt;
}

}  // namespace

AppendedTokens AppendTokens(Sequence& s, GeneratedToken drawn, const AnswerLimits& limits, MaskMaker* masks) {
  AppendedTokens appended;
  std::optional<TokenId> next = drawn.token;
  for (; next && appended.forced() < kMostForced; next = s.forced()) {
    appended.tokens.push_back(appended.tokens.empty() ? std::move(drawn) : GeneratedToken{*next});
    s.Append(*next);
    appended.ending = Ending(s, *next, limits);
    if (appended.ending) break;
    masks->SetAllowed(s);
  }
  return appended;
}

void CountPrompt(const Sequence& s, EngineStats* stats) {
  for (size_t i = 0; i < kTokenSources; ++i) {
    stats->prompt_tokens[i] += static_cast<uint64_t>(s.usage.tokens[i]);
    if (s.request.repeats_prompt)
      stats->repeated_prompt_tokens[i] += static_cast<uint64_t>(s.usage.tokens[i]);
  }
  for (size_t i = 0; i < kMissReasons; ++i) stats->miss_tokens[i] += s.miss_tokens[i];
  stats->prefix_query_tokens += static_cast<uint64_t>(s.prompt_tokens);
  stats->prefix_hit_tokens += static_cast<uint64_t>(s.usage.cached());
}

std::optional<FinishReason> EndingOfFormat(const Sequence& s, RequestEvent* event) {
  if (s.has_allowed()) return std::nullopt;
  if (s.allowed != nullptr) return s.constraint->accepts() ? FinishReason::kStop : FinishReason::kLength;
  event->error = s.WhyNoneAllowed();
  return FinishReason::kError;
}

}  // namespace prefixd
