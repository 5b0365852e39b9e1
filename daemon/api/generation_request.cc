#include "daemon/api/generation_request.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <limits>

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr int64_t kMaxTokensAsked = std::numeric_limits<int32_t>::max();

struct NumberField {
  std::string_view name;
  double low, high;
  float SamplingParams::*member;
};
constexpr NumberField kNumbers[] = {
    {"temperature", 0, 2, &SamplingParams::temperature},
    {"top_p", 0, 1, &SamplingParams::top_p},
    {"min_p", 0, 1, &SamplingParams::min_p},
};

struct IntegerField {
  std::string_view name;
  int64_t low, high;
  int SamplingParams::*member;
};
constexpr IntegerField kIntegers[] = {
    {"top_k", -1, kMaxTokensAsked, &SamplingParams::top_k},
    {"min_tokens", 0, kMaxTokensAsked, &SamplingParams::min_tokens},
};

struct SwitchField {
  std::string_view name;
  bool GenerationRequest::*member;
};
constexpr SwitchField kSwitches[] = {
    {"stream", &GenerationRequest::stream},
    {"include_stop_str_in_output", &GenerationRequest::include_stop},
    {"skip_special_tokens", &GenerationRequest::skip_special_tokens},
    {"return_token_ids", &GenerationRequest::return_token_ids},
    {"return_tokens_as_token_ids", &GenerationRequest::tokens_as_ids},
};

// Highest precedence first.
constexpr std::string_view kMaxTokensNames[] = {"max_completion_tokens", "max_tokens", "n_predict"};

constexpr LackingField kLacking[] = {
    {"presence_penalty", Neutral::kZero, "a penalty other than 0"},
    {"frequency_penalty", Neutral::kZero, "a penalty other than 0"},
    {"repetition_penalty", Neutral::kOne, "a penalty other than 1"},
    {"logit_bias", Neutral::kEmpty, "a logit bias"},
    {"prompt_logprobs", Neutral::kAbsent, "log probabilities of the prompt"},
    {"allowed_token_ids", Neutral::kEmpty, "a list of allowed tokens"},
    {"bad_words", Neutral::kEmpty, "a list of words to avoid"},
    {"use_beam_search", Neutral::kFalse, "beam search"},
    {"truncate_prompt_tokens", Neutral::kAbsent, "cutting the prompt"},
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
    case Neutral::kZero:
    case Neutral::kOne:
      return value.is_number() && value.to_number<double>() == (neutral == Neutral::kZero ? 0 : 1);
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

// A text that is kept, more than once, for every choice.
bool CheckLength(Fields& fields, std::string_view name, std::string_view text, const ApiLimits& limits) {
  if (text.size() <= limits.max_word_bytes) return true;
  fields.Fail(name,
              "'" + std::string(name) + "' may hold texts of at most " +
                  std::to_string(limits.max_word_bytes) + " bytes, not " + std::to_string(text.size()) + ".",
              "string_above_max_length");
  return false;
}

void ReadStops(Fields& fields, const ApiLimits& limits, GenerationRequest* request) {
  const json::value* stop = fields.Find("stop");
  if (stop == nullptr) return;
  json::array one;
  if (stop->is_string()) one.push_back(*stop);
  if (!stop->is_string() && !stop->is_array()) {
    return fields.Fail("stop", "'stop' must be a string or an array of strings.", "invalid_type");
  }
  const json::array& all = stop->is_array() ? stop->get_array() : one;
  if (static_cast<int>(all.size()) > limits.max_stops) {
    return fields.Fail("stop",
                       "'stop' may hold at most " + std::to_string(limits.max_stops) + " strings, not " +
                           std::to_string(all.size()) + ".",
                       "invalid_value");
  }
  for (const json::value& text : all) {
    if (!text.is_string())
      return fields.Fail("stop", "'stop' must be a string or an array of strings.", "invalid_type");
    if (text.get_string().empty())
      return fields.Fail("stop", "'stop' must not hold an empty string.", "invalid_value");
    if (!CheckLength(fields, "stop", text.get_string(), limits)) return;
    request->stop.emplace_back(text.get_string());
  }
}

void ReadStopTokens(Fields& fields, const ApiContext& context, SamplingParams* sampling) {
  const json::array* ids = fields.Array("stop_token_ids");
  if (ids == nullptr) return;
  for (const json::value& id : *ids) {
    const std::optional<int64_t> number = AsInteger(id);
    if (!number || *number < 0 || *number >= context.vocab_size) {
      return fields.Fail("stop_token_ids",
                         "'stop_token_ids' must be ids of the vocabulary, from 0 to " +
                             std::to_string(context.vocab_size - 1) + ".",
                         "invalid_value");
    }
    sampling->stop_token_ids.push_back(static_cast<TokenId>(*number));
  }
  // Repetitions would let the list grow past the vocabulary.
  std::vector<TokenId>& stops = sampling->stop_token_ids;
  std::sort(stops.begin(), stops.end());
  stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
}

void ReadSampling(Fields& fields, const ApiContext& context, SamplingParams* sampling) {
  for (const NumberField& field : kNumbers) {
    if (const auto number = fields.Number(field.name, field.low, field.high)) {
      sampling->*field.member = static_cast<float>(*number);
    }
  }
  for (const IntegerField& field : kIntegers) {
    if (const auto number = fields.Integer(field.name, field.low, field.high)) {
      sampling->*field.member = static_cast<int>(*number);
    }
  }
  sampling->ignore_eos = fields.Bool("ignore_eos", false);
  ReadStopTokens(fields, context, sampling);
  // The engine's own ranges are narrower at the ends that mean "off" or "greedy".
  sampling->top_k = std::max(sampling->top_k, 0);
  if (sampling->top_p <= 0) {
    sampling->top_p = 1;
    sampling->temperature = 0;
  }
  sampling->min_p = std::min(sampling->min_p, std::nextafter(1.0f, 0.0f));
}

int64_t LogprobsLimit(const ApiContext& context) {
  return context.limits.max_logprobs < 0 ? context.vocab_size : context.limits.max_logprobs;
}

}  // namespace

GenerationRequest ReadGenerationRequest(Fields& fields, const ApiContext& context) {
  GenerationRequest request;
  request.model = fields.String("model").value_or(context.model_names.front());
  request.sampling = context.defaults;
  ReadSampling(fields, context, &request.sampling);
  for (const SwitchField& field : kSwitches)
    request.*field.member = fields.Bool(field.name, request.*field.member);
  for (const std::string_view name : kMaxTokensNames) {
    // -1 is llama.cpp's word for "as many as fit".
    const auto number = fields.Integer(name, -1, kMaxTokensAsked);
    if (number && *number >= 0 && !request.max_tokens) request.max_tokens = number;
  }
  if (request.max_tokens && request.sampling.min_tokens > *request.max_tokens) {
    fields.Fail("min_tokens",
                "'min_tokens' must not be more than the maximum of tokens, " +
                    std::to_string(*request.max_tokens) + ".",
                "invalid_value");
  }
  request.n = static_cast<int>(fields.Integer("n", 1, context.limits.max_n).value_or(1));
  if (const auto seed =
          fields.Integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())) {
    request.seed = static_cast<uint64_t>(*seed);
  }
  ReadStops(fields, context.limits, &request);
  if (const json::object* options = fields.Object("stream_options")) {
    Fields inner(*options, "stream_options.");
    request.include_usage = inner.Bool("include_usage", false);
    request.continuous_usage = inner.Bool("continuous_usage_stats", false) && request.include_usage;
    if (inner.error()) fields.Fail(*inner.error());
  }
  if (const auto salt = fields.String("cache_salt")) {
    if (salt->empty()) fields.Fail("cache_salt", "'cache_salt' must not be empty.", "invalid_value");
    if (CheckLength(fields, "cache_salt", *salt, context.limits)) request.cache_salt = *salt;
  }
  return request;
}

void RefuseWhatIsLacking(Fields& fields, std::span<const LackingField> more) {
  // A value that nobody may send is told apart from one that only prefixd lacks.
  fields.Number("presence_penalty", -2, 2);
  fields.Number("frequency_penalty", -2, 2);
  for (const std::span<const LackingField> table : {std::span<const LackingField>(kLacking), more}) {
    for (const LackingField& field : table) {
      const json::value* value = fields.Find(field.name);
      if (value != nullptr && !IsNeutral(*value, field.neutral))
        fields.Fail(UnsupportedParameter(std::string(field.name), field.what));
    }
  }
}

int ReadChatLogprobs(Fields& fields, const ApiContext& context) {
  const bool wanted = fields.Bool("logprobs", false);
  const auto top = fields.Integer("top_logprobs", 0, LogprobsLimit(context));
  if (top && *top > 0 && !wanted) {
    fields.Fail("top_logprobs", "'top_logprobs' needs 'logprobs' to be true.", "invalid_value");
  }
  return wanted ? static_cast<int>(top.value_or(0)) : -1;
}

int ReadCompletionLogprobs(Fields& fields, const ApiContext& context) {
  return static_cast<int>(fields.Integer("logprobs", 0, LogprobsLimit(context)).value_or(-1));
}

std::optional<ApiError> CheckModel(const std::string& model, const ApiContext& context) {
  if (std::find(context.model_names.begin(), context.model_names.end(), model) != context.model_names.end())
    return std::nullopt;
  return ApiError{.status = 404,
                  .code = "model_not_found",
                  .param = "model",
                  .message = "The model '" + model + "' does not exist; this server has '" +
                             context.model_names.front() + "'."};
}

std::optional<ApiError> FitContext(int context_length, int prompt_tokens, std::optional<int64_t> asked,
                                   int fallback, std::string_view noun, int* max_tokens) {
  const std::string limit =
      "This model's maximum context length is " + std::to_string(context_length) + " tokens. However, ";
  const std::string name(noun);
  const int64_t left = context_length - prompt_tokens;
  if (left <= 0) {
    return BadParameter(name,
                        limit + "your " + name + " resulted in " + std::to_string(prompt_tokens) +
                            " tokens. Please reduce the length of the " + name + ".",
                        "context_length_exceeded");
  }
  if (asked && *asked > left) {
    return BadParameter(name,
                        limit + "you requested " + std::to_string(prompt_tokens + *asked) + " tokens (" +
                            std::to_string(prompt_tokens) + " in the " + name + ", " +
                            std::to_string(*asked) + " in the completion). Please reduce the length of the " +
                            name + " or completion.",
                        "context_length_exceeded");
  }
  *max_tokens = static_cast<int>(asked.value_or(std::min<int64_t>(left, fallback)));
  return std::nullopt;
}

}  // namespace prefixd
