#include "text/tokenizer/detokenizer.h"

#include <algorithm>

namespace prefixd {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens,
                         std::span<const TokenId> prompt_tail)
    : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens), stream_(tokenizer.decoder()) {
  for (const TokenId id : prompt_tail) Push(id);
  stream_.MarkEmitted();
}

std::string Detokenizer::Push(TokenId id) {
  std::string text;
  const auto token = tokenizer_->TokenText(id);
  if (token && !(skip_special_tokens_ && tokenizer_->IsSpecial(id))) stream_.Push(*token, &text);
  return text;
}

std::string Detokenizer::Flush() {
  std::string text;
  stream_.Flush(&text);
  return text;
}

std::span<const TokenId> PromptTail(const Tokenizer& tokenizer, std::span<const TokenId> prompt) {
  constexpr size_t kCodePointTokens = 4;
  size_t from = prompt.size();
  while (from > 0 && tokenizer.IsSpecial(prompt[from - 1])) --from;
  return prompt.subspan(from - std::min(from, kCodePointTokens));
}

}  // namespace prefixd
