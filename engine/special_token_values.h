// Tokens as the JSON files of a model folder write them: text, or an object with flags. Included by
// special_tokens*.cc only. Plain values; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fields.h"
#include "base/status.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

inline constexpr std::string_view kConfigFile = "tokenizer_config.json";
inline constexpr std::string_view kMapFile = "special_tokens_map.json";
inline constexpr std::string_view kAddedFile = "added_tokens.json";
inline constexpr std::string_view kTokenizerFile = "tokenizer.json";

inline constexpr std::string_view kTokenNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                   "pad_token", "cls_token", "mask_token"};

struct WrittenToken {
  AddedTokenSpec flags;            // with the content; without the id
  std::optional<bool> normalized;  // absent: a token is normalized unless it is special
  bool is_text = true;             // written without flags
  std::string from;                // the file

  const std::string& content() const { return flags.content; }
  // The token to add; `special` makes it special.
  AddedTokenSpec Spec(bool special) const;
  bool operator==(const WrittenToken& other) const;
};

WrittenToken TextToken(std::string text, std::string_view from);
// Reads an object with "content" and flags. Unknown keys are ignored.
Result<WrittenToken> ReadTokenObject(const JsonFields& object, std::string_view from);
// Reads text or an object; `fields` has `key`, and its value is not null.
Result<WrittenToken> ReadToken(const JsonFields& fields, std::string_view key, std::string_view from);
// Reads an array of those.
Result<std::vector<WrittenToken>> ReadTokens(const JsonFields& fields, std::string_view key,
                                             std::string_view from);

bool IsTokenName(std::string_view key);

}  // namespace prefixd
