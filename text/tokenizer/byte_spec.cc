#include "text/tokenizer/byte_spec.h"

#include <string>
#include <utility>

#include "base/check.h"
#include "text/tokenizer/byte_level.h"

namespace prefixd {

TokenizerSpec ByteTokenizerSpec(int vocab) {
  PREFIXD_CHECK(vocab >= 256 && vocab <= kMaxTokenId + 1) << vocab;
  TokenizerSpec spec;
  for (int id = 0; id < vocab; ++id) {
    std::string text = id < 256 ? std::string(SpellByte(static_cast<unsigned char>(id)))
                                : SpellBytes(" t" + std::to_string(id));
    spec.model.vocab.emplace_back(std::move(text), id);
  }
  spec.pre_tokenizers.push_back({.kind = PreTokenizerSpec::kByteLevel, .use_regex = true});
  spec.decoders = {DecoderSpec{.kind = DecoderSpec::kByteLevel}};
  return spec;
}

}  // namespace prefixd
