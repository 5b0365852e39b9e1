#include "daemon/api/lacking_fields.h"

#include <boost/json.hpp>
#include <string>

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr LackingField kLacking[] = {
    {"allowed_token_ids", Neutral::kEmpty, "a list of allowed tokens"},
    {"bad_words", Neutral::kEmpty, "a list of words to avoid"},
    {"use_beam_search", Neutral::kFalse, "beam search"},
    {"response_format", Neutral::kText, "a format other than {\"type\":\"text\"}"},
    {"structured_outputs", Neutral::kAbsent, "constrained output"},
    {"guided_json", Neutral::kAbsent, "constrained output"},
    {"guided_regex", Neutral::kAbsent, "constrained output"},
    {"guided_choice", Neutral::kAbsent, "constrained output"},
    {"guided_grammar", Neutral::kAbsent, "constrained output"},
    {"grammar", Neutral::kAbsent, "constrained output"},
    {"json_schema", Neutral::kAbsent, "constrained output"},
};

bool IsNeutral(const json::value& value, Neutral neutral) {
  switch (neutral) {
    case Neutral::kAbsent:
      return false;
    case Neutral::kFalse:
      return value.is_bool() && !value.get_bool();
    case Neutral::kEmpty:
      return (value.is_array() && value.get_array().empty()) ||
             (value.is_object() && value.get_object().empty()) ||
             (value.is_string() && value.get_string().empty());
    case Neutral::kText: {
      const json::value* type = value.is_object() ? value.get_object().if_contains("type") : nullptr;
      return type != nullptr && type->is_string() && type->get_string() == "text";
    }
  }
  return false;
}

}  // namespace

void RefuseWhatIsLacking(Fields& fields, std::span<const LackingField> more) {
  for (const std::span<const LackingField> table : {std::span<const LackingField>(kLacking), more}) {
    for (const LackingField& field : table) {
      const json::value* value = fields.Find(field.name);
      if (value != nullptr && !IsNeutral(*value, field.neutral))
        fields.Fail(UnsupportedParameter(std::string(field.name), field.what));
    }
  }
}

}  // namespace prefixd
