// From the tokens of one sequence to the text that its client sees: detokenised, searched for stop strings,
// held back while undecided. One owner (the exchange's io thread); the tokenizer outlives it.
//
// Invariants
//   1. All texts of Take, joined, are the answer: no matter how the tokens were grouped, and never with a
//   piece of a stop
//      string or half a code point in them.
//   2. All tokens of Take, joined, are the tokens pushed until the end, in order; a token leaves with the
//   piece that
//      completes its text, or at the end.
//   3. After the end token or the token that completed a stop string nothing is taken in.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/stop_matcher.h"
#include "engine/request.h"
#include "text/tokenizer/detokenizer.h"

namespace prefixd {

// Of valid UTF-8.
size_t CodePoints(std::string_view text);

struct TextToken {
  GeneratedToken token;
  size_t text_offset = 0;  // code points of the answer before its text
};

struct TextPiece {
  std::string text;
  std::vector<TextToken> tokens;
  bool empty() const { return text.empty() && tokens.empty(); }
};

struct ChoiceTextOptions {
  bool skip_special_tokens = true;
  bool include_stop = false;
  int min_tokens = 0;  // stops are not looked for in the text of earlier tokens
  std::vector<std::string> stops;
  std::vector<TokenId> end_tokens;      // of the model, unless ignored: their text is not part of the answer
  std::vector<TokenId> stop_token_ids;  // as those, but shown with include_stop
};

class ChoiceText {
 public:
  ChoiceText(const Tokenizer& tokenizer, ChoiceTextOptions options, std::span<const TokenId> prompt);

  void Push(GeneratedToken token);
  // No more tokens: what was held back comes out.
  void Finish();
  TextPiece Take();
  // Take would give text.
  bool has_text() const { return !ready_.empty(); }

  // An end token came, or a stop string is complete.
  bool ended() const { return ended_; }
  int tokens() const { return tokens_; }
  const std::string* stop_string() const { return matcher_.found(); }
  std::optional<TokenId> stop_token() const { return stop_token_; }  // of stop_token_ids

 private:
  struct Pending {
    TextToken entry;
    size_t end;  // bytes of text, when this token's are in
  };
  void Feed(const std::string& text);

  const ChoiceTextOptions options_;
  Detokenizer detokenizer_;
  StopMatcher matcher_;
  std::vector<Pending> pending_;
  std::string ready_;
  size_t decoded_bytes_ = 0, decoded_chars_ = 0;  // from the detokenizer
  size_t given_bytes_ = 0;                        // by Take
  int tokens_ = 0;
  bool ended_ = false, finished_ = false;
  std::optional<TokenId> stop_token_;
};

}  // namespace prefixd
