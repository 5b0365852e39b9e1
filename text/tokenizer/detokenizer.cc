#include "text/tokenizer/detokenizer.h"

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

}  // namespace prefixd
