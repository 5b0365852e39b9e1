// ChoiceDecoder: turns the tokens of one sequence into the text that the client sees. It detokenizes, finds
// stop strings, and holds text back while it may be part of a stop string or of an incomplete code point.
// With a parser, the text becomes its events (text/output/output_parser.h).
//
// Threads: one owner, the exchange's io thread. The tokenizer outlives it.
//
// Invariants
//   1. The texts of all Take calls, joined, are the text of the choice. They do not depend on how the tokens
//      were grouped, and never contain part of a stop string or half a code point.
//   2. The tokens of all Take calls, joined, are the tokens pushed until the end, in order. Take returns a
//      token with the piece that completes its text, or at the end.
//   3. Push ignores tokens after an end token, and after the token that completed a stop string.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/stop_matcher.h"
#include "engine/request.h"
#include "text/output/output_parser.h"
#include "text/tokenizer/detokenizer.h"

namespace prefixd {

// The number of code points in valid UTF-8.
size_t CodePoints(std::string_view text);

// What a token with its log probabilities takes in memory, at most: in an event of the engine, in a
// ChoiceDecoder, or in a TextPiece.
size_t HeldBytes(const GeneratedToken& token);

struct TextToken {
  GeneratedToken token;
  size_t text_offset = 0;  // code points of the choice before its text
};

struct TextPiece {
  std::string text;                 // without a parser
  std::vector<OutputEvent> events;  // with one
  std::vector<TextToken> tokens;
  bool empty() const { return text.empty() && events.empty() && tokens.empty(); }
  size_t text_bytes() const;  // events included
};

// A piece for each event. The tokens go with the first; a piece without a text is left out, unless tokens are
// shown. A piece without events stays as it is.
std::vector<TextPiece> SplitEvents(TextPiece piece, bool shows_tokens);

struct ChoiceDecoderOptions {
  bool skip_special_tokens = true;
  bool include_stop = false;
  int min_tokens = 0;  // the text of earlier tokens is not searched for stop strings
  std::vector<std::string> stops;
  std::vector<TokenId> end_tokens;      // of the model, unless ignored; their text is not returned
  std::vector<TokenId> stop_token_ids;  // like end_tokens, but returned with include_stop
  std::vector<TokenId> shown;           // special tokens that are not skipped, with a parser
  bool parse = false;
  OutputOptions output;   // with parse
  size_t most_calls = 0;  // the text ends with this call
};

class ChoiceDecoder {
 public:
  ChoiceDecoder(const Tokenizer& tokenizer, ChoiceDecoderOptions options, std::span<const TokenId> prompt);

  void Push(GeneratedToken token);
  // No more tokens follow. Releases the held-back text.
  void Finish();
  TextPiece Take();
  // Frees what Take would return. Only the counts and the reason of the end remain.
  void Drop();
  // What the tokens and texts that Take has not returned yet take in memory.
  size_t held_bytes() const {
    return pending_bytes_ + ready_.capacity() + (parser_ ? parser_->held_bytes() : 0);
  }
  // Take would return text.
  bool has_text() const { return !ready_.empty() || (parser_ && parser_->has_events()); }
  // Complete calls of tools in the text.
  size_t calls() const { return parser_ ? parser_->calls() : 0; }

  // An end token was pushed, or a stop string is complete.
  bool ended() const { return ended_; }
  int tokens() const { return tokens_; }
  // Of those, the ones after which the text was within reasoning: its text and the tag that opens it.
  int reasoning_tokens() const { return reasoning_tokens_; }
  const std::string* stop_string() const { return matcher_.found(); }
  std::optional<TokenId> stop_token() const {
    return stop_token_;
  }  // the end token, if it is one of stop_token_ids

 private:
  struct Pending {
    TextToken entry;
    size_t end;  // bytes of decoded text, including this token's
  };
  void Feed(const std::string& text);
  void Parse();

  const ChoiceDecoderOptions options_;
  const bool skips_special_;  // here, rather than in the detokenizer: the parser sees some of them
  const Tokenizer& tokenizer_;
  Detokenizer detokenizer_;
  StopMatcher matcher_;
  std::vector<Pending> pending_;
  size_t pending_bytes_ = 0;  // HeldBytes of pending_
  std::string ready_;
  std::unique_ptr<OutputParser> parser_;          // may be null; takes what is ready
  size_t decoded_bytes_ = 0, decoded_chars_ = 0;  // received from the detokenizer
  size_t given_bytes_ = 0;                        // returned by Take
  int tokens_ = 0, reasoning_tokens_ = 0;
  bool ended_ = false, finished_ = false;
  std::optional<TokenId> stop_token_;
};

}  // namespace prefixd
