// Token texts back to text: the decoder of a tokenizer.json, one token at a time, so that a whole text and a
// stream of tokens are decoded by the same code. TokenDecoder is immutable after creation (any thread); a
// DecodeStream has one owner.
//
// A decoder is stages on single tokens (Replace, ByteFallback, Strip, Metaspace), then what joins them
// (ByteLevel, Fuse, or the end), then at most one Strip of the joined text.
//
// Invariants
//   1. All that Push and Flush of a stream append, together, is the decoded text; every piece of it is valid
//   UTF-8.
//   2. What Push appends is certain: no token that may follow could change it. What waits: an incomplete code
//   point; with
//      ByteFallback a run of byte tokens, since a run that is not valid as a whole becomes U+FFFD for each
//      byte; and characters at the end that Strip would take.
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
  static constexpr size_t kMaxGrowth = 64;  // of a token's text by all Replace stages together

  // `specs` as in TokenizerSpec: nothing means that a space stands between two tokens.
  static Result<TokenDecoder> Create(const std::optional<std::vector<DecoderSpec>>& specs);
  // The bytes that one token stands for, whatever is around it.
  std::string Bytes(std::string_view token) const;

 private:
  friend class DecodeStream;
  enum class Join : unsigned char { kPlain, kSpaces, kByteLevel };

  std::vector<DecoderSpec> stages_;  // on single tokens
  Join join_ = Join::kPlain;
  std::optional<DecoderSpec> strip_;  // of the joined text
};

class DecodeStream {
 public:
  // `decoder` must outlive the stream.
  explicit DecodeStream(const TokenDecoder& decoder);

  void Push(std::string_view token, std::string* out);
  // The end of the tokens: appends what waited. Nothing may be pushed afterwards.
  void Flush(std::string* out);
  // What was pushed so far is known to the reader, who sees it as if it had ended here; only what follows is
  // to come out. An incomplete code point goes on to wait: if it is completed it comes out whole, otherwise
  // the reader has its U+FFFD.
  void MarkKnown();

 private:
  void Feed(size_t stage, std::string_view token, std::string* out);
  void Joined(std::string_view token, std::string* out);
  void EndByteRun(size_t stage, std::string* out);
  void PushBytes(std::string_view bytes, std::string* out);
  void Emit(std::string_view text, std::string* out);

  const TokenDecoder* decoder_;
  bool first_token_ = true;
  std::vector<bool> metaspace_seen_;  // by stage: the first token has come there
  std::string byte_run_;              // ByteFallback: of byte tokens
  size_t byte_run_stage_ = 0;         // the stage that collects it
  std::string partial_;               // ByteLevel: an incomplete code point
  size_t known_run_ = 0;              // so many bytes at the front of byte_run_ the reader has as U+FFFD
  bool known_partial_ = false;        // the reader has partial_ as U+FFFD
  size_t strip_left_ = 0;             // Strip: so many may still be taken at the beginning
  size_t held_ = 0;                   // Strip: so many characters at the end wait
};

}  // namespace prefixd
