// Parses any bytes as a tokenizer.json. They are rejected, or give a tokenizer that encodes and decodes
// without errors in memory, and the same text in one piece as in a stream.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/tokenizer/detokenizer.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/unicode.h"

// Text without marks has the ids of a plain text; with marks anywhere, characters cut in two included, it has
// ids of the vocabulary.
static void CheckMarks(const prefixd::Tokenizer& tok, std::string_view text,
                       const std::vector<prefixd::TokenId>& ids, prefixd::Tokenizer::EncodeOptions options) {
  const auto own = tok.Encode(prefixd::MarkedText::Own(std::string(text)), options);
  PREFIXD_CHECK(own.ok() && *own == ids);
  for (const size_t step : {1, 3, 16}) {
    prefixd::MarkedText marked;
    for (size_t at = 0; at < text.size(); at += step) {
      if (at / step % 2 == 0) {
        marked += text.substr(at, step);
      } else {
        marked.AppendInput(text.substr(at, step));
      }
    }
    const auto encoded = tok.Encode(marked, options);
    if (!encoded.ok()) continue;
    for (const prefixd::TokenId id : *encoded) PREFIXD_CHECK(id >= 0 && id < tok.vocab_size()) << id;
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = prefixd::Tokenizer::FromJson(input);
  if (!tokenizer.ok()) return 0;
  const prefixd::Tokenizer& tok = **tokenizer;
  constexpr std::string_view text =
      "Hello, it's 2024 <s>\r\n  caf\xC3\xA9 e\xCC\x81 \xF0\x9F\x98\x80 \xFF ab  ";
  std::string many;  // long enough that the encoder splits pieces and merges long words with its queue
  for (int i = 0; i < 40; ++i) many += i % 8 < 4 ? "ab" : " a";
  for (const std::string_view one : {text, std::string_view(many), input.substr(0, 256)}) {
    for (const bool special : {true, false}) {
      const auto encoded = tok.Encode(one, {.add_special_tokens = special, .parse_special = special});
      if (!encoded.ok()) continue;
      const std::vector<prefixd::TokenId>& ids = *encoded;
      for (const prefixd::TokenId id : ids) PREFIXD_CHECK(id >= 0 && id < tok.vocab_size()) << id;
      const std::string whole = tok.Decode(ids, special);
      PREFIXD_CHECK(prefixd::IsValidUtf8(whole));
      prefixd::Detokenizer stream(tok, special);
      std::string pieces;
      for (const prefixd::TokenId id : ids) {
        const std::string piece = stream.Push(id);
        PREFIXD_CHECK(prefixd::IsValidUtf8(piece));
        pieces += piece;
      }
      PREFIXD_CHECK(pieces + stream.Flush() == whole);
      CheckMarks(tok, one, ids, {.add_special_tokens = special, .parse_special = special});
    }
  }
  for (prefixd::TokenId id = -1; id <= tok.vocab_size() && id < 64; ++id) (void)tok.TokenBytes(id);
  return 0;
}
