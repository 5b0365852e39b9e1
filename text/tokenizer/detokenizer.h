// Turns token ids into text while they are generated. One owner per stream. The tokenizer must outlive it.
//
// Invariants
//   1. The concatenation of all that Push and Flush return is Tokenizer::Decode of the pushed ids. After a
//      prompt, it is what Decode of prompt and ids adds to Decode of the prompt.
//   2. Each returned piece is valid UTF-8 and final. Incomplete code points, and any other text that later
//      tokens could change, are held back.
#pragma once

#include <span>
#include <string>

#include "base/types.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

class Detokenizer {
 public:
  // `prompt_tail` is the last tokens of the prompt, with at least one that is not skipped if the prompt has
  // one. They tell the decoder that the stream is not at the start of the text, where some decoders drop a
  // space. They may end within a code point.
  Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens,
              std::span<const TokenId> prompt_tail = {});

  // Returns the text that is now certain; often "".
  std::string Push(TokenId id);
  // Ends the stream and returns the rest, with U+FFFD for incomplete bytes. Push must not be called
  // afterwards.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  DecodeStream stream_;
};

// The end of a prompt that a Detokenizer needs as context: a token that is not special, and enough tokens
// before it to complete a code point.
std::span<const TokenId> PromptTail(const Tokenizer& tokenizer, std::span<const TokenId> prompt);

}  // namespace prefixd
