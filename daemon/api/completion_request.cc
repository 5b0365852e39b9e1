#include "daemon/api/completion_request.h"

#include <algorithm>
#include <boost/json.hpp>

#include "daemon/api/constraint_request.h"
#include "daemon/api/sampling_request.h"
#include "daemon/api/unsupported_fields.h"

namespace prefixd {

namespace {

namespace json = boost::json;

// `found` is the prompt, or the part of it that is wrong.
std::string PromptForms(const json::value& found) {
  return "'prompt' must be a string, an array of strings, an array of token ids, or an array of such arrays; "
         "it is or contains " +
         QuoteJson(found) + ".";
}

constexpr UnsupportedField kUnsupportedCompletionFields[] = {
    {"suffix", AllowedValue::kEmpty, "text after the completion"},
    {"top_logprobs", AllowedValue::kOff, "chat's form of log probabilities ('logprobs' is their number)"},
    {"tools", AllowedValue::kEmpty, "calling tools"},
};

bool ReadIds(RequestFields& fields, const json::array& ids, const ApiContext& context,
             std::vector<PromptInput>* prompts) {
  std::vector<TokenId> tokens;
  for (const json::value& id : ids) {
    const std::optional<int64_t> number = AsInteger(id);
    if (!number) return fields.Fail("prompt", PromptForms(id), "invalid_type"), false;
    if (*number < 0 || *number >= context.vocab_size) {
      fields.Fail("prompt",
                  "'prompt' contains the token id " + std::to_string(*number) +
                      "; ids of this model range from 0 to " + std::to_string(context.vocab_size - 1) + ".",
                  "invalid_value");
      return false;
    }
    tokens.push_back(static_cast<TokenId>(*number));
  }
  prompts->emplace_back(std::move(tokens));
  return true;
}

void ReadPrompts(RequestFields& fields, const ApiContext& context, std::vector<PromptInput>* prompts) {
  const json::value* prompt = fields.Find("prompt");
  if (prompt == nullptr) return fields.Fail("prompt", "'prompt' is required.", "missing_required_parameter");
  if (prompt->is_string()) {
    prompts->emplace_back(std::string(prompt->get_string()));
    return;
  }
  if (!prompt->is_array()) return fields.Fail("prompt", PromptForms(*prompt), "invalid_type");
  const json::array& list = prompt->get_array();
  if (list.empty() || list.front().is_number()) {  // an empty array is a prompt without ids
    ReadIds(fields, list, context, prompts);
    return;
  }
  if (list.size() > static_cast<size_t>(context.limits.max_choices)) {
    return fields.Fail("prompt",
                       "'prompt' may contain at most " + std::to_string(context.limits.max_choices) +
                           " prompts, not " + std::to_string(list.size()) + ".",
                       "invalid_value");
  }
  for (const json::value& one : list) {
    if (one.is_string()) {
      prompts->emplace_back(std::string(one.get_string()));
    } else if (!one.is_array()) {
      return fields.Fail("prompt", PromptForms(one), "invalid_type");
    } else if (!ReadIds(fields, one.get_array(), context, prompts)) {
      return;
    }
  }
}

void ReadBestOf(RequestFields& fields, const ApiLimits& limits, GenerationRequest* generation) {
  const int best_of = static_cast<int>(fields.Integer("best_of", 0, limits.max_best_of).value_or(0));
  if (best_of == 0) return;
  if (best_of < generation->n) {
    return fields.Fail("best_of",
                       "'best_of' must not be less than 'n', " + std::to_string(generation->n) + ".",
                       "invalid_value");
  }
  if (best_of > generation->n && generation->stream) {
    return fields.Fail(
        "best_of", "'best_of' cannot be combined with 'stream': the best choices are known only at the end.",
        "invalid_value");
  }
  generation->best_of = best_of;
}

}  // namespace

const FieldTable& CompletionFields() {
  static const FieldTable table = [] {
    FieldTable made;
    AddGenerationFields(&made);
    AddCompletionLogprobsField(&made);
    AddConstraintFields(&made);
    AddUnsupportedFields(kUnsupportedCompletionFields, &made);
    made.Any("prompt", R"({"type":["string","array"],"items":{"anyOf":[{"type":"string"},
        {"type":"integer"},{"type":"array","items":{"type":"integer"}}]}})");
    made.Bool("echo").Bool("add_special_tokens").Integer("best_of", 0, Limit("best-of"));
    return made.Ignored({"store"}).Required("prompt");
  }();
  return table;
}

Parsed<CompletionRequest> ReadCompletionRequest(const json::object& body, const ApiContext& context) {
  RequestFields fields(body, CompletionFields());
  CompletionRequest request;
  request.generation = ReadGenerationRequest(fields, context);
  if (fields.error()) return *fields.error();
  if (auto error = CheckModel(request.generation.model, context)) return *error;
  ReadPrompts(fields, context, &request.prompts);
  request.generation.sampling.logprobs = ReadCompletionLogprobs(fields, context);
  request.echo = fields.Bool("echo", false);
  request.add_special_tokens = fields.Bool("add_special_tokens", true);
  ReadBestOf(fields, context.limits, &request.generation);
  if (request.echo) {
    SamplingParams& sampling = request.generation.sampling;
    sampling.prompt_logprobs = std::max(sampling.prompt_logprobs, sampling.logprobs);
  }
  RejectUnsupportedFields(fields, kUnsupportedCompletionFields);
  const int per_prompt = request.generation.best_of;
  const int choices = static_cast<int>(request.prompts.size()) * per_prompt;
  if (choices > context.limits.max_choices) {
    const std::string name = per_prompt > request.generation.n ? "best_of" : "n";
    fields.Fail(name,
                std::to_string(request.prompts.size()) + " prompts times '" + name + "' are " +
                    std::to_string(choices) + "; at most " + std::to_string(context.limits.max_choices) +
                    " are allowed.",
                "invalid_value");
  }
  if (fields.error()) return *fields.error();
  ReadConstraint(fields, context, &request.generation);
  if (fields.error()) return *fields.error();
  return request;
}

}  // namespace prefixd
