// Which file of a model folder says what about special and added tokens. ResolveSpecialTokens states the
// order of precedence and carries it out; nothing else in prefixd decides it. Plain values; any thread.
//
// The order is that of AutoTokenizer of transformers 5.24 with tokenizers 0.23. Where version 4.57 differs,
// the rule says so. A name is bos_token, eos_token, unk_token, sep_token, pad_token, cls_token or mask_token.
// Of several sources in a rule, the later one counts.
//   1. tokenizer.json defines the vocabulary and the added tokens with their flags. A token that stands there
//      keeps its id whatever other files say. A new token gets the next id (see
//      text/tokenizer/added_vocabulary.h).
//   2. With the key added_tokens_decoder in tokenizer_config.json, special_tokens_map.json and
//      added_tokens.json are not read. Names come from tokenizer_config.json. The flags of a token come from
//      tokenizer.json, then from added_tokens_decoder.
//   3. Without that key, names come from tokenizer_config.json, then from special_tokens_map.json, where null
//      takes a name away. The flags of a token come from the file that names it, then from added_tokens.json,
//      then from tokenizer.json.
//   4. A name whose key no file has is the default of the class (Qwen2Tokenizer, GPT2Tokenizer or
//      LlamaTokenizer), and pad_token else that of the padding in tokenizer.json (not with GPT2Tokenizer).
//      special_token_class.h has the classes. Version 4.57 takes the class that tokenizer_config.json names,
//      also for the model types qwen2 and mistral and for a byte-level LlamaTokenizer.
//   5. Further tokens come from extra_special_tokens or, where that is absent or empty, from
//      additional_special_tokens. A list adds special tokens. An object gives further names, as do other keys
//      that end in _token. Version 4.57 uses both keys, makes known tokens of a list special, and ignores the
//      other keys.
//   6. A token with a name is special, unless tokenizer.json alone has it beside an added_tokens_decoder that
//      lacks it. With the class Qwen2Tokenizer, tokens with a name and further tokens are special and have no
//      other flag (version 5.24 only).
//   7. generation_config.json and config.json name no tokens. Their eos_token_id ends answers besides
//      eos_token.
//
// The class changes nothing else. tokenizer.json alone defines normalizer, pre-tokenizer and post-processor,
// where version 5.24 replaces them for the classes LlamaTokenizer, GPT2Tokenizer and Qwen2Tokenizer. With
// Qwen2Tokenizer, version 5.24 drops added tokens of tokenizer.json that added_tokens_decoder lacks; here, as
// in version 4.57, they count, and the contradictions say so.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

// The parsed files of a folder; null: the folder has no such file.
struct SpecialTokenFiles {
  const boost::json::object* config = nullptr;  // tokenizer_config.json
  const boost::json::object* map = nullptr;     // special_tokens_map.json
  const boost::json::object* added = nullptr;   // added_tokens.json
  std::string model_type, model_class;          // model_type and tokenizer_class of config.json
};

struct NamedToken {
  std::string name;  // "bos_token"
  std::string text;  // not empty
  std::string from;  // "special_tokens_map.json"
};

struct ResolvedTokens {
  std::vector<NamedToken> named;  // bos_token first if there is one, then in the order of rule 5
  // One sentence for every value that another one overrules and for every token that tokenizer.json lacks.
  std::vector<std::string> contradictions;
};

// Adds the tokens of the other files to `spec`, which ParseTokenizerJson returned, and gives the names.
// kInvalidArgument: a value of a wrong type. kUnsupported: a value that transformers would follow and prefixd
// does not. The message names file and key.
Result<ResolvedTokens> ResolveSpecialTokens(const SpecialTokenFiles& files, TokenizerSpec* spec);

// Returns the text of a name, or "" where there is none.
std::string_view TextOf(const std::vector<NamedToken>& named, std::string_view name);

}  // namespace prefixd
