#include "daemon/api/unsupported_fields.h"

#include <boost/json.hpp>
#include <string>

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr UnsupportedField kUnsupported[] = {
    {"allowed_token_ids", AllowedValue::kEmpty, "a list of allowed tokens"},
    {"bad_words", AllowedValue::kEmpty, "a list of words to avoid"},
    {"use_beam_search", AllowedValue::kFalse, "beam search"},
    {"structural_tag", AllowedValue::kNone, "constrained output"},
    {"guided_whitespace_pattern", AllowedValue::kNone, "other white space in JSON"},
    {"prompt_embeds", AllowedValue::kNone, "a prompt of embeddings"},
    {"logits_processors", AllowedValue::kEmpty, "code that changes logits"},
    {"lora", AllowedValue::kEmpty, "choosing adapters"},
    // Samplers of other servers.
    {"typical_p", AllowedValue::kOne, "locally typical sampling"},
    {"tfs_z", AllowedValue::kOne, "tail-free sampling"},
    {"top_a", AllowedValue::kOff, "top-a sampling"},
    {"epsilon_cutoff", AllowedValue::kOff, "epsilon sampling"},
    {"eta_cutoff", AllowedValue::kOff, "eta sampling"},
    {"top_n_sigma", AllowedValue::kOff, "top-n-sigma sampling"},
    {"xtc_probability", AllowedValue::kOff, "XTC sampling"},
    {"dynatemp_range", AllowedValue::kOff, "a dynamic temperature"},
    {"smoothing_factor", AllowedValue::kOff, "quadratic sampling"},
    {"mirostat", AllowedValue::kOff, "Mirostat sampling"},
    {"mirostat_mode", AllowedValue::kOff, "Mirostat sampling"},
    {"dry_multiplier", AllowedValue::kOff, "DRY sampling"},
    {"repeat_penalty", AllowedValue::kOne,
     "a penalty of the last tokens ('repetition_penalty' is one of all)"},
    {"no_repeat_ngram_size", AllowedValue::kOff, "a ban of repeated n-grams"},
    {"samplers", AllowedValue::kEmpty, "another order of the samplers"},
    {"length_penalty", AllowedValue::kOne, "a length penalty of beam search"},
    {"n_probs", AllowedValue::kOff, "llama.cpp's form of log probabilities ('logprobs' is OpenAI's)"},
};

bool IsAllowed(const json::value& value, AllowedValue allowed) {
  switch (allowed) {
    case AllowedValue::kNone:
      return false;
    case AllowedValue::kFalse:
      return value.is_bool() && !value.get_bool();
    case AllowedValue::kEmpty:
      return (value.is_array() && value.get_array().empty()) ||
             (value.is_object() && value.get_object().empty()) ||
             (value.is_string() && value.get_string().empty());
    case AllowedValue::kOff:
      return value.is_number() && value.to_number<double>() <= 0;
    case AllowedValue::kOne:
      return value.is_number() && value.to_number<double>() == 1;
  }
  return false;
}

}  // namespace

void AddUnsupportedFields(std::span<const UnsupportedField> more, FieldTable* table) {
  table->Unsupported(kUnsupported).Unsupported(more);
}

void RejectUnsupportedFields(RequestFields& fields, std::span<const UnsupportedField> more) {
  for (const std::span<const UnsupportedField> table :
       {std::span<const UnsupportedField>(kUnsupported), more}) {
    for (const UnsupportedField& field : table) {
      const json::value* value = fields.Find(field.name);
      if (value != nullptr && !IsAllowed(*value, field.allowed))
        fields.Fail(UnsupportedParameter(std::string(field.name), field.feature));
    }
  }
}

}  // namespace prefixd
