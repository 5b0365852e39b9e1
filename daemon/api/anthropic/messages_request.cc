#include "daemon/api/anthropic/messages_request.h"

#include <boost/json.hpp>
#include <string>

#include "daemon/api/anthropic/message_blocks.h"
#include "daemon/api/translated_fields.h"
#include "daemon/api/unsupported_fields.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr UnsupportedField kUnsupported[] = {
    {"container", AllowedValue::kNone, "a container that runs code"},
    {"mcp_servers", AllowedValue::kEmpty, "tools of other servers"},
    {"n", AllowedValue::kOne, "several answers"},
    {"prompt_logprobs", AllowedValue::kNone, "log probabilities of the prompt"},
};

// The tool runner of the official client asks for a conversation that the server keeps, and sends all of it
// when it gets this code.
void RefuseThread(RequestFields& fields) {
  const json::value* thread = fields.Find("thread");
  if (thread == nullptr || *thread == false) return;
  fields.Fail("thread", "'thread' is not supported by this server: send all messages.",
              "thread_unsupported_request");
}

// Where the error about a translated field is.
constexpr FieldName kNames[] = {
    {"response_format.json_schema.", "output_config.format."},
    {"response_format", "output_config.format"},
    {".function.parameters", ".input_schema"},
    {".function.", "."},
    {"parallel_tool_calls", "tool_choice.disable_parallel_tool_use"},
};

// {"name","description","input_schema","strict"} to the function of a chat. What the server of someone else
// runs keeps its type, and is not shown.
json::value ChatTool(const json::value& value) {
  const json::object* tool = value.if_object();
  if (tool == nullptr) return value;
  const json::value* type = tool->if_contains("type");
  if (type != nullptr && !type->is_null() && *type != "custom") return HiddenTool();
  json::object function;  // in the order of the request
  json::object chat_tool = {{"type", "function"}};
  CopyMark(*tool, &chat_tool);
  for (const auto& [name, member] : *tool) {
    if (name == "name" || name == "description" || name == "strict") function.emplace(name, member);
    if (name == "input_schema") function.emplace("parameters", member);
  }
  chat_tool["function"] = std::move(function);
  return chat_tool;
}

void TranslateChoice(RequestFields& fields, json::object* chat) {
  const json::object* choice = fields.Object("tool_choice");
  if (choice == nullptr) return;
  RequestFields inner(*choice, "tool_choice.");
  const std::string type = inner.String("type").value_or("");
  if (inner.Bool("disable_parallel_tool_use", false)) chat->emplace("parallel_tool_calls", false);
  if (type == "auto" || type == "none") {
    chat->emplace("tool_choice", type);
  } else if (type == "any") {
    chat->emplace("tool_choice", "required");
  } else if (type == "tool") {
    const auto name = inner.String("name");
    if (!name) inner.Fail("name", "'tool_choice.name' is required.", "missing_required_parameter");
    chat->emplace("tool_choice",
                  json::object{{"type", "function"}, {"function", {{"name", name.value_or("")}}}});
  } else {
    inner.Fail("type", "'tool_choice.type' must be auto, any, tool or none.", "invalid_value");
  }
  if (inner.error()) fields.Fail(*inner.error());
}

// {"type":"json_schema","schema"}
void TranslateFormat(RequestFields& fields, const json::object& format, json::object* chat) {
  RequestFields inner(format, "output_config.format.");
  const auto type = inner.String("type");
  if (!inner.error() && type != "json_schema")
    inner.Fail("type", "'output_config.format.type' must be 'json_schema'.", "invalid_value");
  if (inner.error()) return fields.Fail(*inner.error());
  json::object schema = {{"name", "answer"}};
  if (const json::value* found = inner.Find("schema")) schema.emplace("schema", *found);
  chat->emplace("response_format", json::object{{"type", "json_schema"}, {"json_schema", std::move(schema)}});
}

void ReadOutputConfig(RequestFields& fields, json::object* chat, json::object* variables) {
  const json::object* format = fields.Object("output_format");  // of earlier versions of the API
  if (const json::object* config = fields.Object("output_config")) {
    RequestFields inner(*config, "output_config.");
    if (const auto effort = inner.String("effort")) variables->emplace("reasoning_effort", *effort);
    if (const json::object* found = inner.Object("format")) format = found;
    if (inner.error()) fields.Fail(*inner.error());
  }
  if (format != nullptr) TranslateFormat(fields, *format, chat);
}

void ReadThinking(RequestFields& fields, json::object* variables) {
  const json::object* thinking = fields.Object("thinking");
  if (thinking == nullptr) return;
  RequestFields inner(*thinking, "thinking.");
  const auto type = inner.String("type");
  if (inner.error()) return fields.Fail(*inner.error());
  if (type == "enabled") variables->emplace("enable_thinking", true);
  if (type == "disabled") variables->emplace("enable_thinking", false);
}

FieldTable MakeFields() {
  FieldTable table;
  AddGenerationFields(&table);
  AddUnsupportedFields(kUnsupported, &table);
  table.Any("thread", R"({"const":false})");
  table.Any("stop_sequences", R"({"type":["string","array"],"items":{"type":"string","minLength":1}})");
  table.Array("messages", R"({"type":"object","required":["role","content"],"properties":{
      "role":{"enum":["user","assistant","system"]},"content":{"type":["string","array"]}}})");
  table.Any("system", R"({"type":["string","array"]})").Object("cache_control");
  table.Object("chat_template_kwargs").Object("thinking").Object("output_config").Object("output_format");
  table.Array("tools", R"({"type":"object"})").Object("tool_choice");
  table.Object("diagnostics", R"({"previous_message_id":{"type":["string","null"]}})");
  return table.Ignored({"store", "speed", "inference_geo", "context_management"}).Required("messages");
}

}  // namespace

const FieldTable& MessagesFields() {
  static const FieldTable table = MakeFields().Required("max_tokens");
  return table;
}

const FieldTable& CountTokensFields() {
  static const FieldTable table = MakeFields();
  return table;
}

Parsed<MessagesRequest> ReadMessagesRequest(const json::object& body, const ApiContext& context,
                                            bool counts) {
  RequestFields fields(body, counts ? CountTokensFields() : MessagesFields());
  MessagesRequest request;
  ChatRequest& chat = request.chat;
  chat.generation = ReadGenerationRequest(fields, context);
  ReadStops(fields, "stop_sequences", context.limits, &chat.generation);
  if (!counts && !chat.generation.max_tokens)
    fields.Fail("max_tokens", "'max_tokens' is required.", "missing_required_parameter");
  if (fields.error()) return *fields.error();
  if (auto error = CheckModel(chat.generation.model, context)) return *error;
  RejectUnsupportedFields(fields, kUnsupported);
  RefuseThread(fields);
  if (fields.error()) return *fields.error();
  if (auto error = CheckCacheControl(body, &chat.generation.cache.whole)) return *error;
  Parsed<MessageList> list = ReadMessageList(body);
  if (!list.ok()) return list.error();
  chat.prompt.input.messages = std::move(list->messages);
  chat.prompt.continue_final_message = list->continues;
  chat.prompt.input.add_generation_prompt = !list->continues;
  json::object& variables = chat.prompt.input.extra;
  if (const json::object* extra = fields.Object("chat_template_kwargs")) variables = *extra;
  ReadThinking(fields, &variables);
  if (const json::object* asked = fields.Object("diagnostics")) {
    RequestFields inner(*asked, "diagnostics.");
    request.compare_with = inner.String("previous_message_id").value_or("");
    if (inner.error()) fields.Fail(*inner.error());
  }
  json::object translated;
  ReadOutputConfig(fields, &translated, &variables);
  TranslateChoice(fields, &translated);
  TranslateTools(fields, ChatTool, &translated);
  if (fields.error()) return *fields.error();
  if (auto error = ReadTranslated(translated, context, kNames, &chat)) return *error;
  if (auto error = TakeMarks(&chat.prompt)) return *error;
  return request;
}

}  // namespace prefixd
