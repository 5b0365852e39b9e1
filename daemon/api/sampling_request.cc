#include "daemon/api/sampling_request.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr int64_t kMaxInteger = std::numeric_limits<int32_t>::max();

struct NumberField {
  std::string_view name;
  double low, high;
  float SamplingParams::*member;
};
constexpr NumberField kNumbers[] = {
    {"temperature", 0, 2, &SamplingParams::temperature},
    {"top_p", 0, 1, &SamplingParams::top_p},
    {"min_p", 0, 1, &SamplingParams::min_p},
    {"presence_penalty", -2, 2, &SamplingParams::presence_penalty},
    {"frequency_penalty", -2, 2, &SamplingParams::frequency_penalty},
    // A factor on logits. Values beyond this range ban or force tokens; logit_bias does that.
    {"repetition_penalty", 0.01, 100, &SamplingParams::repetition_penalty},
};

struct IntegerField {
  std::string_view name;
  int64_t low, high;
  int SamplingParams::*member;
};
constexpr IntegerField kIntegers[] = {
    {"top_k", -1, kMaxInteger, &SamplingParams::top_k},
    {"min_tokens", 0, kMaxInteger, &SamplingParams::min_tokens},
};

constexpr double kMaxBias = 100;

std::string VocabularyRange(const ApiContext& context) {
  return "from 0 to " + std::to_string(context.vocab_size - 1);
}

void ReadStopTokens(RequestFields& fields, const ApiContext& context, SamplingParams* sampling) {
  const json::array* ids = fields.Array("stop_token_ids");
  if (ids == nullptr) return;
  for (const json::value& id : *ids) {
    const std::optional<int64_t> number = AsInteger(id);
    if (!number || *number < 0 || *number >= context.vocab_size) {
      return fields.Fail("stop_token_ids",
                         "'stop_token_ids' must be ids of the vocabulary, " + VocabularyRange(context) +
                             ", not " + QuoteJson(id) + ".",
                         "invalid_value");
    }
    sampling->stop_token_ids.push_back(static_cast<TokenId>(*number));
  }
  // Duplicates could make the list longer than the vocabulary.
  std::vector<TokenId>& stops = sampling->stop_token_ids;
  std::sort(stops.begin(), stops.end());
  stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
}

// Parses a token id in the canonical form of a JSON integer, so that each token has one name.
std::optional<TokenId> IdOfName(std::string_view name, int vocab_size) {
  TokenId id = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
  if (error != std::errc() || end != name.data() + name.size() || id < 0 || id >= vocab_size)
    return std::nullopt;
  if (std::to_string(id) != name) return std::nullopt;
  return id;
}

void ReadLogitBias(RequestFields& fields, const ApiContext& context, SamplingParams* sampling) {
  constexpr std::string_view kName = "logit_bias";
  const json::object* biases = fields.Object(kName);
  if (biases == nullptr) return;
  if (biases->size() > context.limits.max_logit_biases) {
    return fields.Fail(kName,
                       "'logit_bias' may contain at most " + std::to_string(context.limits.max_logit_biases) +
                           " tokens, not " + std::to_string(biases->size()) + ".",
                       "invalid_value");
  }
  for (const auto& [name, value] : *biases) {
    const std::optional<TokenId> id = IdOfName(name, context.vocab_size);
    if (!id) {
      return fields.Fail(kName,
                         "The keys of 'logit_bias' must be ids of the vocabulary, " +
                             VocabularyRange(context) + ", written as strings, not " +
                             QuoteJson(json::value(json::string(name))) + ".",
                         "invalid_value");
    }
    const double bias =
        value.is_number() ? value.to_number<double>() : std::numeric_limits<double>::quiet_NaN();
    if (!(std::abs(bias) <= kMaxBias)) {
      return fields.Fail(kName,
                         "'logit_bias' must give token " + std::to_string(*id) +
                             " a number from -100 to 100, not " + QuoteJson(value) + ".",
                         "invalid_value");
    }
    sampling->logit_bias.push_back({*id, static_cast<float>(bias)});
  }
}

int64_t LogprobsLimit(const ApiContext& context) {
  return context.limits.max_logprobs < 0 ? context.vocab_size : context.limits.max_logprobs;
}

}  // namespace

void AddSamplingFields(FieldTable* table) {
  for (const NumberField& field : kNumbers) table->Number(field.name, field.low, field.high);
  for (const IntegerField& field : kIntegers) {
    table->Integer(field.name, static_cast<double>(field.low), static_cast<double>(field.high));
  }
  table->Bool("ignore_eos");
  table->Array("stop_token_ids", R"({"type":"integer","minimum":0})");
  table->Object("logit_bias");
}

void AddPromptLogprobsField(FieldTable* table) { table->Integer("prompt_logprobs", -1, kMaxInteger); }

void AddChatLogprobsFields(FieldTable* table) {
  table->Bool("logprobs").Integer("top_logprobs", 0, kMaxInteger);
}

void AddCompletionLogprobsField(FieldTable* table) { table->Integer("logprobs", 0, kMaxInteger); }

void ReadSampling(RequestFields& fields, const ApiContext& context, SamplingParams* sampling) {
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
  ReadLogitBias(fields, context, sampling);
  // The API accepts values for "off" and "greedy" that are outside the ranges of the engine.
  sampling->top_k = std::max(sampling->top_k, 0);
  if (sampling->top_p <= 0) {
    sampling->top_p = 1;
    sampling->temperature = 0;
  }
  sampling->min_p = std::min(sampling->min_p, std::nextafter(1.0f, 0.0f));
}

int ReadChatLogprobs(RequestFields& fields, const ApiContext& context) {
  const bool wanted = fields.Bool("logprobs", false);
  const auto top = fields.Integer("top_logprobs", 0, LogprobsLimit(context));
  if (top && *top > 0 && !wanted) {
    fields.Fail("top_logprobs", "'top_logprobs' needs 'logprobs' to be true.", "invalid_value");
  }
  return wanted ? static_cast<int>(top.value_or(0)) : -1;
}

int ReadCompletionLogprobs(RequestFields& fields, const ApiContext& context) {
  return static_cast<int>(fields.Integer("logprobs", 0, LogprobsLimit(context)).value_or(-1));
}

int ReadPromptLogprobs(RequestFields& fields, const ApiContext& context) {
  const int64_t limit = LogprobsLimit(context);
  const bool whole = limit >= context.vocab_size;
  const auto asked = fields.Integer("prompt_logprobs", whole ? -1 : 0, limit);
  if (!asked) return -1;
  return *asked < 0 ? context.vocab_size : static_cast<int>(*asked);
}

}  // namespace prefixd
