// Text to token ids and back, as a Hugging Face tokenizer.json says: added tokens, normalizer, pre-tokenizer,
// byte-pair encoding, post-processor, decoder. Immutable after load: every const member may be called from
// any thread at once.
//
// Invariants
//   1. Ids and texts equal those of the `tokenizers` library for the same file; a file for which that cannot
//   be promised is
//      refused at load, by the name of what is in the way.
//   2. Ids that Encode gives are in [0, vocab_size()).
//   3. Decode gives valid UTF-8, whatever the ids.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "text/tokenizer/decoder.h"

namespace prefixd {

class Tokenizer {
 public:
  // kCorrupt: not a tokenizer.json. kUnsupported: an unknown component or option, named with its JSON path
  // and value. The message begins with "tokenizer.json: ".
  static Result<std::unique_ptr<Tokenizer>> FromJson(std::string_view tokenizer_json);
  ~Tokenizer();

  struct EncodeOptions {
    bool add_special_tokens = true;  // the post-processor's additions (BOS ...)
    bool parse_special = true;       // false: text that spells a special added token is encoded as plain text
  };
  // Bytes that are not UTF-8 count as U+FFFD, one for every maximal invalid part. kInvalidArgument: the
  // file's regexes or normalizers would need more steps or memory for this text than a text may have.
  Result<std::vector<TokenId>> Encode(std::string_view utf8, EncodeOptions options) const;

  // Ids without a token are passed over.
  std::string Decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  // Exact bytes that one token stands for (byte-level: raw, maybe part of a code point); "" for an id without
  // token.
  std::string TokenBytes(TokenId id) const;
  bool IsSpecial(TokenId id) const;
  std::optional<TokenId> TokenToId(std::string_view content) const;  // vocabulary or added token
  int vocab_size() const;                                            // one past the highest id
  // A text of n bytes gives at least n / this tokens; 0: nothing can be promised.
  size_t max_bytes_per_token() const;
  std::string_view kind() const;  // of its model, for people: "byte-level BPE"

  // For streams: what turns the texts of tokens into text, and the text of a token as the file spells it;
  // nothing for an id without a token.
  const TokenDecoder& decoder() const;
  std::optional<std::string_view> TokenText(TokenId id) const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  static Result<std::unique_ptr<Tokenizer>> Build(const TokenizerSpec& spec);
  Status EncodeText(std::string_view text, bool parse_special, std::vector<TokenId>* out) const;

  std::unique_ptr<const Parts> parts_;
};

}  // namespace prefixd
