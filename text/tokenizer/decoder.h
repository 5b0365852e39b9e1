// Turns token texts back into text: the decoder of a tokenizer.json. It takes one token at a time, so that
// one code path decodes both whole texts and streams. TokenDecoder is immutable after creation (any thread);
// a DecodeStream has one owner.
//
// A decoder has stages for single tokens (Replace, ByteFallback, Strip, Metaspace), then a way to join them
// (ByteLevel, Fuse, or the end of the list), then at most one Strip of the joined text.
//
// Invariants
//   1. The concatenation of all that Push and Flush append is the decoded text. Each appended piece is valid
//      UTF-8.
//   2. Push appends only text that no later token can change. It holds back an incomplete code point; the
//      characters at the end that Strip would remove; and, with ByteFallback, a run of byte tokens, because a
//      run that is not valid as a whole becomes one U+FFFD per byte.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

class TokenDecoder {
 public:
  static constexpr size_t kMaxGrowth = 64;  // of a token's text, by all Replace stages together

  // `specs` as in TokenizerSpec: without a value, tokens are joined by spaces.
  static Result<TokenDecoder> Create(const std::optional<std::vector<DecoderSpec>>& specs);
  // Returns the bytes of one token, without regard to its neighbours.
  std::string Bytes(std::string_view token) const;

 private:
  friend class DecodeStream;
  enum class Join : unsigned char { kPlain, kSpaces, kByteLevel };

  std::vector<DecoderSpec> stages_;  // for single tokens
  Join join_ = Join::kPlain;
  std::optional<DecoderSpec> strip_;  // for the joined text
};

class DecodeStream {
 public:
  // `decoder` must outlive the stream.
  explicit DecodeStream(const TokenDecoder& decoder);

  // Appends the text that is now certain.
  void Push(std::string_view token, std::string* out);
  // Ends the stream: appends the text that was held back. Push must not be called afterwards.
  void Flush(std::string* out);
  // Tells the stream that the reader already has the text of all tokens pushed so far, decoded as if it ended
  // here. The stream appends later text only. It still holds back an incomplete code point: if later tokens
  // complete it, it is appended whole; otherwise nothing is, because the reader already has its U+FFFD.
  void MarkEmitted();

 private:
  void Feed(size_t stage, std::string_view token, std::string* out);
  void Joined(std::string_view token, std::string* out);
  void EndByteRun(size_t stage, std::string* out);
  void PushBytes(std::string_view bytes, std::string* out);
  void Emit(std::string_view text, std::string* out);

  const TokenDecoder* decoder_;
  bool first_token_ = true;
  std::vector<bool> metaspace_seen_;  // per stage: it has seen the first token
  std::string byte_run_;              // ByteFallback: the current run of byte tokens
  size_t byte_run_stage_ = 0;         // the stage that collects the run
  std::string partial_;               // ByteLevel: an incomplete code point
  size_t emitted_run_ = 0;            // bytes at the front of byte_run_ that the reader has as U+FFFD
  bool partial_emitted_ = false;      // the reader has partial_ as U+FFFD
  size_t strip_left_ = 0;             // Strip: characters that may still be removed at the beginning
  size_t held_ = 0;                   // Strip: characters at the end that are held back
};

}  // namespace prefixd
