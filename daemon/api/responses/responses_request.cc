#include "daemon/api/responses/responses_request.h"

#include <algorithm>
#include <boost/json.hpp>
#include <limits>
#include <utility>

#include "daemon/api/generation_request.h"
#include "daemon/api/responses/input_items.h"
#include "daemon/api/responses/stored_items.h"
#include "daemon/api/sampling_request.h"
#include "daemon/api/translated_fields.h"
#include "daemon/api/unsupported_fields.h"
#include "daemon/api/verbatim_numbers.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr UnsupportedField kUnsupported[] = {
    {"background", AllowedValue::kFalse, "running a response in the background"},
    {"conversation", AllowedValue::kNone, "a conversation that the server keeps ('previous_response_id' is)"},
    {"n", AllowedValue::kOne, "several answers"},
    {"prompt", AllowedValue::kNone, "a prompt that the server keeps"},
    {"prompt_logprobs", AllowedValue::kNone, "log probabilities of the prompt"},
};

// Where the error about a translated field is.
constexpr FieldName kNames[] = {
    {"response_format.json_schema.", "text.format."},
    {"response_format", "text.format"},
    {".function.", "."},
};

// {"type":"function","name",...} to the function of a chat, with its members in the order of the request. A
// tool that is not a function keeps its place, and is not shown to the model.
json::value ChatTool(const json::value& value) {
  const json::object* tool = value.if_object();
  const json::value* type = tool == nullptr ? nullptr : tool->if_contains("type");
  if (tool == nullptr) return value;
  if (type == nullptr || *type != "function") return HiddenTool();
  json::object function;
  for (const auto& [name, member] : *tool)
    if (name != "type" && !member.is_null()) function.emplace(name, member);
  return json::object{{"type", "function"}, {"function", std::move(function)}};
}

json::value ChatChoice(const json::value& value) {
  const json::object* choice = value.if_object();
  const json::value* type = choice == nullptr ? nullptr : choice->if_contains("type");
  const json::value* name = choice == nullptr ? nullptr : choice->if_contains("name");
  if (type == nullptr || *type != "function" || name == nullptr) return value;
  return json::object{{"type", "function"}, {"function", {{"name", *name}}}};
}

// {"type":"json_schema","name","schema","strict"} to the form of a chat, where these are in "json_schema".
void TranslateFormat(RequestFields& fields, json::object* chat) {
  const json::object* text = fields.Object("text");
  if (text == nullptr) return;
  RequestFields inner(*text, "text.");
  const json::object* format = inner.Object("format");
  if (inner.error()) return fields.Fail(*inner.error());
  if (format == nullptr) return;
  json::object translated, schema;
  for (const auto& [name, member] : *format) (name == "type" ? translated : schema).emplace(name, member);
  const json::value* type = format->if_contains("type");
  if (type != nullptr && *type == "json_schema") translated.emplace("json_schema", std::move(schema));
  chat->emplace("response_format", std::move(translated));
}

void ReadLogprobs(RequestFields& fields, const ApiContext& context, GenerationRequest* generation) {
  const int64_t most = context.limits.max_logprobs < 0 ? context.vocab_size : context.limits.max_logprobs;
  const auto top = fields.Integer("top_logprobs", 0, most);
  const json::array* include = fields.Array("include");
  const bool included = include != nullptr &&
                        std::any_of(include->begin(), include->end(),
                                    [](const auto& name) { return name == "message.output_text.logprobs"; });
  if (included || top.value_or(0) > 0) generation->sampling.logprobs = static_cast<int>(top.value_or(0));
}

// Clients read a mode and a lifetime of what a response repeats.
json::value ShownCacheOptions(RequestFields& fields) {
  const json::value* options = fields.Find("prompt_cache_options");
  if (options == nullptr || !options->is_object()) return nullptr;
  const json::value* retention = fields.Find("prompt_cache_retention");
  const bool day = retention != nullptr && *retention == "24h";
  json::value repeated = Unmarked(*options);
  json::object& shown = repeated.get_object();
  for (const auto& [name, fallback] : {std::pair("mode", "implicit"), std::pair("ttl", day ? "24h" : "30m")})
    if (json::value& value = shown[name]; value.is_null()) value = fallback;
  return repeated;
}

// What a response repeats of its request.
json::object Shown(RequestFields& fields, const ResponsesRequest& request) {
  const SamplingParams& sampling = request.chat.generation.sampling;
  const std::pair<const char*, json::value> members[] = {
      {"instructions", nullptr},
      {"max_output_tokens", nullptr},
      {"metadata", json::object()},
      {"parallel_tool_calls", true},
      {"previous_response_id", nullptr},
      {"prompt_cache_key", nullptr},
      {"prompt_cache_retention", nullptr},
      {"reasoning", json::object{{"effort", nullptr}, {"summary", nullptr}}},
      {"temperature", static_cast<double>(sampling.temperature)},
      {"text", json::object{{"format", json::object{{"type", "text"}}}}},
      {"tool_choice", "auto"},
      {"tools", json::array()},
      {"top_p", static_cast<double>(sampling.top_p)},
      {"user", nullptr},
  };
  json::object shown;
  for (const auto& [name, fallback] : members) {
    const json::value* value = fields.Find(name);
    shown.emplace(name, value == nullptr ? fallback : Unmarked(*value));
  }
  shown.emplace("prompt_cache_options", ShownCacheOptions(fields));
  shown.emplace("truncation", "disabled");
  shown.emplace("service_tier", "default");
  shown.emplace("background", false);
  shown.emplace("store", request.store);
  return shown;
}

// The conversation of a request: what it continues, its instructions and its own items.
std::optional<ApiError> ReadInput(RequestFields& fields, const ApiContext& context,
                                  const ResponseAuthor& author, Work& work, ResponsesRequest* request) {
  Parsed<json::array> own = ItemsOf(fields.Find("input"));
  if (!own.ok()) return own.error();
  json::array items;
  const auto previous = fields.String("previous_response_id");
  const auto instructions = fields.String("instructions");
  if (fields.error()) return fields.error();
  if (previous) {
    if (auto error = AppendStored(*context.responses, author.owner, *previous, work, &items)) return error;
  }
  if (auto error = ResolveReferences(*context.responses, author.owner, work, &*own)) return error;
  if (items.empty() && own->empty())
    return BadParameter("input", "'input' is missing or empty.", "missing_required_parameter");
  Conversation conversation;
  if (instructions) {
    conversation.Turn("system", /*join=*/false);
    conversation.Text(*instructions);
  }
  for (const json::value& item : items)
    if (auto error = AddInputItem(item, "previous_response_id", &conversation)) return error;
  for (size_t i = 0; i < own->size(); ++i) {
    if (auto error = AddInputItem((*own)[i], "input[" + std::to_string(i) + "]", &conversation)) return error;
  }
  request->chat.prompt.input.messages = conversation.Take();
  if (request->chat.prompt.input.messages.empty())
    return BadParameter("input", "'input' has nothing that the model could read.", "invalid_value");
  if (!request->store) return std::nullopt;
  for (json::value& item : NamedItems(*std::move(own), author.suffix)) items.push_back(std::move(item));
  request->input = json::serialize(json::object{{"items", std::move(items)}});
  return std::nullopt;
}

}  // namespace

const FieldTable& ResponsesFields() {
  static const FieldTable table = [] {
    constexpr double kMost = std::numeric_limits<int32_t>::max();
    FieldTable made;
    AddGenerationFields(&made);
    AddUnsupportedFields(kUnsupported, &made);
    made.Any("input", R"({"type":["string","array"],"items":{"type":"object"}})");
    made.String("instructions").String("previous_response_id").Bool("store").Bool("generate");
    made.Integer("max_output_tokens", 0, kMost).Integer("top_logprobs", 0, kMost).Array("include");
    made.Object("text", R"({"format":{"type":["object","null"]}})").Object("chat_template_kwargs");
    made.Object("reasoning", R"({"effort":{"type":["string","null"]}})");
    made.Array("tools", R"({"type":"object"})").Any("tool_choice", R"({"type":["string","object"]})");
    made.Bool("parallel_tool_calls");
    return made.Ignored({"truncation", "max_tool_calls", "context_management"});
  }();
  return table;
}

Parsed<ResponsesRequest> ReadResponsesRequest(const json::object& body, const ApiContext& context,
                                              const ResponseAuthor& author, bool counts, Work& work) {
  RequestFields fields(body, ResponsesFields());
  ResponsesRequest request;
  GenerationRequest& generation = request.chat.generation;
  generation = ReadGenerationRequest(fields, context);
  // A prompt that only warms the cache has no answer, whatever its length may be.
  if (const auto most = fields.Integer("max_output_tokens", 0, std::numeric_limits<int32_t>::max()))
    generation.max_tokens = generation.cache.prewarm ? 0 : *most;
  request.store = fields.Bool("store", true) && !counts;
  request.generates = fields.Bool("generate", true);
  if (!request.generates) generation.max_tokens = 0;
  ReadLogprobs(fields, context, &generation);
  if (fields.error()) return *fields.error();
  if (auto error = CheckModel(generation.model, context)) return *error;
  RejectUnsupportedFields(fields, kUnsupported);
  json::object& variables = request.chat.prompt.input.extra;
  if (const json::object* extra = fields.Object("chat_template_kwargs")) variables = *extra;
  if (const json::object* reasoning = fields.Object("reasoning")) {
    RequestFields inner(*reasoning, "reasoning.");
    if (const auto effort = inner.String("effort")) variables.emplace("reasoning_effort", *effort);
    if (inner.error()) fields.Fail(*inner.error());
  }
  if (const json::object* options = fields.Object("prompt_cache_options")) {
    RequestFields inner(*options, "prompt_cache_options.");
    request.compare_with = inner.String("comparison_response_id");
    if (inner.error()) fields.Fail(*inner.error());
  }
  json::object translated;
  TranslateFormat(fields, &translated);
  TranslateTools(fields, ChatTool, &translated);
  if (const json::value* choice = fields.Find("tool_choice"))
    translated.emplace("tool_choice", ChatChoice(*choice));
  if (const json::value* parallel = fields.Find("parallel_tool_calls"))
    translated.emplace("parallel_tool_calls", *parallel);
  if (fields.error()) return *fields.error();
  if (auto error = ReadInput(fields, context, author, work, &request)) return *error;
  if (auto error = ReadTranslated(translated, context, kNames, &request.chat)) return *error;
  if (auto error = TakeMarks(&request.chat.prompt)) return *error;
  request.shown = Shown(fields, request);
  if (fields.error()) return *fields.error();
  return request;
}

}  // namespace prefixd
