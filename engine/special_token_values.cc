#include "engine/special_token_values.h"

#include <algorithm>
#include <utility>

namespace prefixd {

AddedTokenSpec WrittenToken::Spec(bool special) const {
  AddedTokenSpec spec = flags;
  spec.special = special || (!is_text && flags.special);
  spec.normalized = normalized.value_or(!spec.special);
  return spec;
}

bool WrittenToken::operator==(const WrittenToken& other) const {
  if (is_text != other.is_text || content() != other.content()) return false;
  if (is_text) return true;
  const AddedTokenSpec a = Spec(false), b = other.Spec(false);
  return a.single_word == b.single_word && a.lstrip == b.lstrip && a.rstrip == b.rstrip &&
         a.normalized == b.normalized && a.special == b.special;
}

WrittenToken TextToken(std::string text, std::string_view from) {
  WrittenToken token;
  token.flags.content = std::move(text);
  token.from = from;
  return token;
}

Result<WrittenToken> ReadTokenObject(const JsonFields& object, std::string_view from) {
  WrittenToken token;
  token.is_text = false;
  token.from = from;
  PREFIXD_ASSIGN_OR_RETURN(token.flags.content, object.String("content").Or(""));
  PREFIXD_ASSIGN_OR_RETURN(token.flags.single_word, object.Bool("single_word").Or(false));
  PREFIXD_ASSIGN_OR_RETURN(token.flags.lstrip, object.Bool("lstrip").Or(false));
  PREFIXD_ASSIGN_OR_RETURN(token.flags.rstrip, object.Bool("rstrip").Or(false));
  PREFIXD_ASSIGN_OR_RETURN(token.flags.special, object.Bool("special").Or(false));
  PREFIXD_ASSIGN_OR_RETURN(token.normalized, object.Bool("normalized").Optional());
  return token;
}

Result<WrittenToken> ReadToken(const JsonFields& fields, std::string_view key, std::string_view from) {
  if (const Field<std::string> text = fields.String(key); text.ok()) return TextToken(text.value(), from);
  if (const Field<JsonFields> object = fields.Object(key); object.ok())
    return ReadTokenObject(object.value(), from);
  return fields.Wrong(key, "a string, an object with \"content\", or null");
}

Result<std::vector<WrittenToken>> ReadTokens(const JsonFields& fields, std::string_view key,
                                             std::string_view from) {
  PREFIXD_ASSIGN_OR_RETURN(const boost::json::array* array, fields.Array(key).Required());
  std::vector<WrittenToken> tokens;
  for (size_t i = 0; i < array->size(); ++i) {
    const boost::json::value& value = (*array)[i];
    if (value.is_string()) {
      tokens.push_back(TextToken(std::string(value.get_string()), from));
    } else if (value.is_object()) {
      const JsonFields object(value.get_object(), fields.PathOf(key) + "[" + std::to_string(i) + "].");
      PREFIXD_ASSIGN_OR_RETURN(WrittenToken token, ReadTokenObject(object, from));
      tokens.push_back(std::move(token));
    } else {
      return fields.WrongElement(key, i, "a string, or an object with \"content\"");
    }
  }
  return tokens;
}

bool IsTokenName(std::string_view key) {
  return std::find(std::begin(kTokenNames), std::end(kTokenNames), key) != std::end(kTokenNames);
}

}  // namespace prefixd
