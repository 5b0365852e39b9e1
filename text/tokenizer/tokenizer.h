// Tokenizer turns text into token ids and back, as a Hugging Face tokenizer.json defines it: added tokens,
// normalizer, pre-tokenizer, byte-pair encoding, post-processor, decoder. Immutable after loading; any
// thread may call every const member at any time.
//
// Invariants
//   1. Ids and texts equal those of the `tokenizers` library for the same file. A file for which prefixd
//      cannot guarantee that is refused at load, and the message names the reason.
//   2. The ids that Encode returns are in [0, vocab_size()).
//   3. Decode returns valid UTF-8 for any ids.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/marked_text.h"
#include "base/status.h"
#include "base/types.h"
#include "text/tokenizer/decoder.h"
#include "text/tokenizer/text_start.h"

namespace prefixd {

class Tokenizer {
 public:
  // Parses the text of a tokenizer.json. kCorrupt: not JSON, or a value that makes no sense. kUnsupported: an
  // unknown component or option; the message names its JSON path and value. The message begins with
  // "tokenizer.json: ".
  static Result<std::unique_ptr<Tokenizer>> FromJson(std::string_view tokenizer_json);
  // The same for a spec that ParseTokenizerJson returned and AddTokens may have changed. kUnsupported.
  static Result<std::unique_ptr<Tokenizer>> FromSpec(const TokenizerSpec& spec);
  ~Tokenizer();

  struct EncodeOptions {
    bool add_special_tokens = true;  // the additions of the post-processor (BOS ...)
    bool parse_special = true;       // false: text that spells a special added token is encoded as plain text
    bool prefix_once = false;        // no addition at the start if the text begins with it (BOS in the text)
    TextStart start = TextStart::kInput;  // of a text that is a part of another
  };
  // Invalid UTF-8 is encoded as U+FFFD, one for every maximal invalid part. kInvalidArgument: the regexes or
  // normalizers of the file would exceed their limit of steps or memory for this text.
  Result<std::vector<TokenId>> Encode(std::string_view utf8, EncodeOptions options) const;
  // The same for a rendered conversation: what came from the request spells no control token. These are the
  // special added tokens, others that are spelled like one ("<|...|>", or with U+FF5C for the bars), and
  // those of MarkControl. Other added tokens are found everywhere, as the file asks. Text without control
  // tokens gives the ids that it has without marks.
  Result<std::vector<TokenId>> Encode(const MarkedText& text, EncodeOptions options) const;

  // Makes the added tokens in `own`, text that the chat template itself writes around messages, control
  // tokens if they are spelled in angle or square brackets, such as "<end_of_turn>" and "[INST]". Before the
  // tokenizer is shared between threads.
  void MarkControl(std::string_view own);

  // Ignores ids without a token.
  std::string Decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  // Returns the exact bytes of one token; "" for an id without a token. With a byte-level model they are raw
  // bytes, possibly a part of a code point.
  std::string TokenBytes(TokenId id) const;
  bool IsSpecial(TokenId id) const;
  bool IsAdded(TokenId id) const;    // an added token: text before it and behind it is encoded apart
  bool IsControl(TokenId id) const;  // one that the content of a message cannot spell
  struct ControlToken {
    size_t begin = 0, end = 0;  // bytes of the text
    TokenId id = 0;
  };
  // The control tokens that Encode finds in a text. Nothing where their places are not known: where some are
  // searched in normalised text, or the text is not valid UTF-8.
  std::optional<std::vector<ControlToken>> FindControl(const MarkedText& text) const;
  std::optional<TokenId> TokenToId(std::string_view content) const;  // vocabulary or added token
  int vocab_size() const;                                            // one past the highest id
  // A text of n bytes gives at least n / this tokens. 0: there is no such bound.
  size_t max_bytes_per_token() const;
  std::string_view kind() const;  // of the model, for people: "byte-level BPE"

  // For streams: the decoder, and the text of a token as the file spells it, or nothing for an id without a
  // token.
  const TokenDecoder& decoder() const;
  std::optional<std::string_view> TokenText(TokenId id) const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<Parts> parts);
  Result<std::vector<TokenId>> Encode(std::string_view utf8, std::span<const ByteRange> input,
                                      EncodeOptions options) const;
  Result<MarkedText> Normalize(std::string_view text, std::span<const ByteRange> input, ByteRange range,
                               TextStart start) const;
  Status EncodeText(std::string_view text, std::span<const ByteRange> input, EncodeOptions options,
                    std::vector<TokenId>* out) const;

  std::unique_ptr<Parts> parts_;  // does not change after MarkControl
};

}  // namespace prefixd
