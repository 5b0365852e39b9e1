#include "daemon/api/choice_decoder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace prefixd {

namespace {

bool Contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

size_t CodePoints(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

size_t HeldBytes(const GeneratedToken& token) {
  // Vectors of tokens grow by doubling.
  return 2 * (sizeof(TextToken) + sizeof(size_t)) + token.top.capacity() * sizeof(TokenLogprob);
}

size_t TextPiece::text_bytes() const {
  size_t bytes = text.size();
  constexpr size_t kEvent = 256;  // and its share of the members of a chunk
  for (const OutputEvent& event : events) bytes += kEvent + event.text.size() + event.id.size();
  return bytes;
}

std::vector<TextPiece> SplitEvents(TextPiece piece, bool shows_tokens) {
  std::vector<TextPiece> parts;
  if (piece.events.empty()) {
    if (!piece.empty()) parts.push_back(std::move(piece));
    return parts;
  }
  std::vector<OutputEvent> events = std::exchange(piece.events, {});
  for (OutputEvent& event : events) {
    if (event.kind == OutputEvent::Kind::kCallEnd && (piece.tokens.empty() || !shows_tokens)) continue;
    piece.events.push_back(std::move(event));
    parts.push_back(std::exchange(piece, {}));
  }
  return parts;
}

ChoiceDecoder::ChoiceDecoder(const Tokenizer& tokenizer, ChoiceDecoderOptions options,
                             std::span<const TokenId> prompt)
    : options_(std::move(options)),
      skips_special_(options_.skip_special_tokens && options_.parse),
      tokenizer_(tokenizer),
      detokenizer_(tokenizer, options_.skip_special_tokens && !options_.parse, PromptTail(tokenizer, prompt)),
      matcher_(options_.stops, options_.include_stop),
      parser_(options_.parse ? MakeOutputParser(options_.output) : nullptr) {}

void ChoiceDecoder::Push(GeneratedToken token) {
  PREFIXD_CHECK(!finished_) << "a token after Finish";
  if (ended_) return;
  ++tokens_;
  const TokenId id = token.token;
  const bool stops = Contains(options_.stop_token_ids, id);
  if (stops) stop_token_ = id;
  const bool ends = stops || Contains(options_.end_tokens, id);
  pending_bytes_ += HeldBytes(token);
  TextToken entry{std::move(token), decoded_chars_};
  const bool hidden = skips_special_ && tokenizer_.IsSpecial(id) && !Contains(options_.shown, id);
  if ((!ends || (stops && options_.include_stop)) && !hidden) Feed(detokenizer_.Push(id));
  if (parser_ != nullptr && parser_->in_reasoning()) ++reasoning_tokens_;
  pending_.push_back({std::move(entry), decoded_bytes_});
  ended_ = ended_ || ends;
}

void ChoiceDecoder::Feed(const std::string& text) {
  decoded_bytes_ += text.size();
  decoded_chars_ += CodePoints(text);
  if (tokens_ < options_.min_tokens) {
    matcher_.PushExempt(text, &ready_);
  } else if (matcher_.Push(text, &ready_)) {
    ended_ = true;
  }
  Parse();
}

// Gives the parser what is ready.
void ChoiceDecoder::Parse() {
  if (parser_ == nullptr || ready_.empty()) return;
  parser_->Push(ready_);
  given_bytes_ += ready_.size();
  ready_.clear();
  if (options_.most_calls > 0 && parser_->calls() >= options_.most_calls) ended_ = true;
}

void ChoiceDecoder::Finish() {
  if (std::exchange(finished_, true)) return;
  if (stop_string() == nullptr) Feed(detokenizer_.Flush());
  matcher_.Flush(&ready_);
  Parse();
  if (parser_ != nullptr) parser_->Finish();
  ended_ = true;
}

void ChoiceDecoder::Drop() {
  std::vector<Pending>().swap(pending_);
  std::string().swap(ready_);
  parser_.reset();
  pending_bytes_ = 0;
}

TextPiece ChoiceDecoder::Take() {
  TextPiece piece{std::exchange(ready_, {}), {}, {}};
  if (parser_ != nullptr) piece.events = parser_->Take();
  given_bytes_ += piece.text.size();
  size_t count = 0;
  while (count < pending_.size() && (finished_ || pending_[count].end <= given_bytes_)) {
    pending_bytes_ -= HeldBytes(pending_[count].entry.token);
    piece.tokens.push_back(std::move(pending_[count++].entry));
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(count));
  return piece;
}

}  // namespace prefixd
