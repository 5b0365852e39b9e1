// Token ids to text while they are generated. One owner per stream; the tokenizer must outlive it.
//
// Invariants
//   1. All that Push and Flush return, together, is Tokenizer::Decode of the pushed ids, or, after a prompt,
//   what Decode of
//      prompt and ids has after that of the prompt.
//   2. Every piece is valid UTF-8 and will not change: partial code points and whatever else tokens to come
//   could alter are
//      held back.
#pragma once

#include <span>
#include <string>

#include "base/types.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

class Detokenizer {
 public:
  // `prompt_tail`: the last tokens before the stream, at least one that is not skipped where the prompt has
  // one. They say that the stream is not at the start of the text (where some decoders drop a space), and may
  // end within a code point.
  Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens,
              std::span<const TokenId> prompt_tail = {});

  // Text that is now certain; often "".
  std::string Push(TokenId id);
  // The rest, with U+FFFD where bytes stay incomplete. Nothing may be pushed afterwards.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  DecodeStream stream_;
};

}  // namespace prefixd
