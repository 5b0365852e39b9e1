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

AppendedTokens AppendTokens(Sequence& s, GeneratedToken drawn, const AnswerLimits& limits) {
  AppendedTokens appended;
  std::optional<TokenId> next = drawn.token;
  for (; next && appended.forced() < kMostForced; next = s.forced()) {
    appended.tokens.push_back(appended.tokens.empty() ? std::move(drawn) : GeneratedToken{*next});
    s.Append(*next);
    appended.ending = Ending(s, *next, limits);
    if (appended.ending) break;
    s.SetAllowed();
  }
  return appended;
}

}  // namespace prefixd
