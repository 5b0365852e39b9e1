// Reads the tokenizer and the chat template of a model folder. engine/special_tokens.h has the order of
// precedence of tokens. Plain functions; any thread.
//
// The chat template comes from the first of these that there is, as in transformers:
//   1. the text given (--chat-template);
//   2. chat_template.jinja, and additional_chat_templates/tool_use.jinja for requests with tools. With
//      additional_chat_templates/default.jinja, that file comes before chat_template.jinja;
//   3. chat_template of tokenizer_config.json: a text, a list of named templates, or an object of them, of
//      which "default" and "tool_use" are used.
// chat_template.json belongs to processors of images and sound. It is not read, and said to be so.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/special_tokens.h"
#include "text/tokenizer/spec.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

struct TemplateSource {
  std::string place;     // the source, for messages
  std::string text;      // empty: the model has no template
  std::string tool_use;  // template of requests with tools; empty: use `text`
};

struct TokenizerFiles {
  TokenizerSpec spec;  // what the tokenizer is made of
  std::unique_ptr<Tokenizer> tokenizer;
  bool made_of_bytes = false;  // there is no tokenizer.json: the tokenizer is that of byte_spec.h
  int own_vocab_size = 0;      // one past the highest id of tokenizer.json itself
  std::vector<NamedToken> named;
  std::vector<std::string> contradictions;  // sentences; those of ResolvedTokens and others
  TemplateSource chat_template;
};

// Reads tokenizer.json, tokenizer_config.json, special_tokens_map.json, added_tokens.json, the templates, and
// of config.json and generation_config.json what they say about tokens. `given_template` is empty where none
// is given. kNotFound: no tokenizer.json. The message names file, value and remedy.
//
// With `byte_vocab`, the size of a vocabulary, the tokenizer of a folder without tokenizer.json has a token
// for each byte. The other files then name no tokens, since their ids are those of another tokenizer.
// kUnsupported: the vocabulary has no room for the bytes.
Result<TokenizerFiles> ReadTokenizerFiles(const std::filesystem::path& folder,
                                          std::string_view given_template,
                                          std::optional<int> byte_vocab = std::nullopt);

}  // namespace prefixd
