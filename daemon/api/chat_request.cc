#include "daemon/api/chat_request.h"

#include <algorithm>
#include <bit>
#include <boost/json.hpp>

#include "base/fnv.h"
#include "base/prng.h"
#include "daemon/api/constraint_request.h"
#include "daemon/api/explain/prompt_record.h"
#include "daemon/api/reusing_encoder.h"
#include "daemon/api/sampling_request.h"
#include "daemon/api/tool_request.h"
#include "daemon/api/unsupported_fields.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool", "function"};

// Unsupported fields of chat requests only.
constexpr UnsupportedField kUnsupportedChatFields[] = {
    {"audio", AllowedValue::kNone, "audio"},
    {"best_of", AllowedValue::kOne, "choosing among several answers"},
    {"suffix", AllowedValue::kEmpty, "text after the answer"},
    {"web_search_options", AllowedValue::kNone, "searching the web"},
};

// A template is a program: the server runs only templates of the operator.
constexpr UnsupportedField kUnsupportedTemplate[] = {
    {"chat_template", AllowedValue::kNone, "a chat template in the request"}};

// Of a part that CheckPart accepts: its text.
const json::value* TextOfPart(const json::value& part) {
  if (!part.is_object()) return &part;
  const json::value* text = part.get_object().if_contains("text");
  return text != nullptr ? text : part.get_object().if_contains("refusal");
}

std::string Indexed(std::string_view name, size_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

// ", not 5", or nothing where there is no value.
std::string NotA(const json::value* value) {
  return value == nullptr ? std::string() : ", not " + QuoteJson(*value);
}

// Checks that a part of a message's content is text.
std::optional<ApiError> CheckPart(const json::value& part, const std::string& place) {
  if (part.is_string()) return std::nullopt;
  if (!part.is_object())
    return BadParameter(
        place, "A part of a message's content must be an object with a type, not " + QuoteJson(part) + ".",
        "invalid_type");
  const json::object& object = part.get_object();
  const json::value* type = object.if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return BadParameter(place + ".type", "A part of a message's content needs a type, such as \"text\".",
                        type == nullptr ? "missing_required_parameter" : "invalid_type");
  }
  const std::string_view kind = type->get_string();
  if (kind != "text" && kind != "refusal") {
    return BadParameter(
        place,
        "Content parts of type " + QuoteJson(*type) + " are not supported by this model; only text is.",
        "unsupported_content_type");
  }
  const json::value* text = object.if_contains({kind.data(), kind.size()});
  if (text != nullptr && text->is_string()) return std::nullopt;
  return BadParameter(place,
                      "A part of type '" + std::string(kind) + "' needs the key '" + std::string(kind) +
                          "' with a string" + NotA(text) + ".",
                      "invalid_type");
}

std::optional<ApiError> CheckContent(const json::object& message, std::string_view role,
                                     const std::string& place) {
  const json::value* content = message.if_contains("content");
  if (content == nullptr || content->is_null()) {
    if (role == "assistant") return std::nullopt;
    return BadParameter(place + ".content", "A message of role '" + std::string(role) + "' needs content.",
                        "missing_required_parameter");
  }
  if (content->is_string()) return std::nullopt;
  if (!content->is_array())
    return BadParameter(
        place + ".content",
        "The content of a message must be a string or an array of parts" + NotA(content) + ".",
        "invalid_type");
  const json::array& parts = content->get_array();
  for (size_t i = 0; i < parts.size(); ++i) {
    if (auto error = CheckPart(parts[i], Indexed(place + ".content", i))) return error;
  }
  return std::nullopt;
}

std::optional<ApiError> CheckToolCalls(const json::object& message, const std::string& place) {
  const json::value* calls = message.if_contains("tool_calls");
  if (calls == nullptr || calls->is_null()) return std::nullopt;
  const std::string name = place + ".tool_calls";
  if (!calls->is_array())
    return BadParameter(name, "The tool calls of a message must be an array" + NotA(calls) + ".",
                        "invalid_type");
  for (size_t i = 0; i < calls->get_array().size(); ++i) {
    const json::value& call = calls->get_array()[i];
    const json::value* function = call.is_object() ? call.get_object().if_contains("function") : nullptr;
    const json::value* called =
        function != nullptr && function->is_object() ? function->get_object().if_contains("name") : nullptr;
    if (called == nullptr || !called->is_string()) {
      return BadParameter(Indexed(name, i), "A tool call needs a function with a name" + NotA(&call) + ".",
                          "missing_required_parameter");
    }
  }
  return std::nullopt;
}

std::optional<ApiError> CheckMessage(const json::value& value, const std::string& place) {
  if (!value.is_object())
    return BadParameter(place, "A message must be an object with role and content" + NotA(&value) + ".",
                        "invalid_type");
  const json::object& message = value.get_object();
  const json::value* role = message.if_contains("role");
  if (role == nullptr || !role->is_string())
    return BadParameter(place + ".role", "A message needs a role, such as \"user\"" + NotA(role) + ".",
                        role == nullptr ? "missing_required_parameter" : "invalid_type");
  const std::string_view name = role->get_string();
  if (std::find(std::begin(kRoles), std::end(kRoles), name) == std::end(kRoles)) {
    return BadParameter(
        place + ".role",
        QuoteJson(*role) + " is not a role; roles are system, developer, user, assistant and tool.",
        "invalid_value");
  }
  if (name == "tool") {
    const json::value* id = message.if_contains("tool_call_id");
    if (id == nullptr || !id->is_string()) {
      return BadParameter(place + ".tool_call_id", "A message of role 'tool' needs a tool_call_id.",
                          "missing_required_parameter");
    }
  }
  if (auto error = CheckContent(message, name, place)) return error;
  return CheckToolCalls(message, place);
}

void ReadMessages(RequestFields& fields, ChatPrompt* prompt) {
  const json::array* messages = fields.Array("messages");
  if (messages == nullptr || messages->empty()) {
    return fields.Fail("messages", "'messages' must be an array of at least one message.",
                       "missing_required_parameter");
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    if (auto error = CheckMessage((*messages)[i], Indexed("messages", i)))
      return fields.Fail(*std::move(error));
  }
  prompt->input.messages = *messages;
}

void ReadShownTools(RequestFields& fields, ChatPrompt* prompt) {
  const json::array* tools = fields.Array("tools");
  if (tools == nullptr || tools->empty()) return;
  for (size_t i = 0; i < tools->size(); ++i) {
    if (!(*tools)[i].is_object())
      return fields.Fail(BadParameter(Indexed("tools", i),
                                      "A tool must be an object" + NotA(&(*tools)[i]) + ".", "invalid_type"));
  }
  prompt->input.tools = *tools;
}

// As in vLLM: the text that the response continues. Only a message of the assistant can be continued; where
// vLLM ignores the field, it is an error. A list of parts is one text only after the template has joined it.
std::string ReadEcho(RequestFields& fields, const ChatPrompt& prompt) {
  if (!fields.Bool("echo", false) || fields.error()) return "";
  const json::object& last = prompt.input.messages.back().get_object();
  const json::value* content = last.if_contains("content");
  if (last.at("role") != "assistant" || content == nullptr || content->is_null()) {
    fields.Fail("echo", "'echo' repeats the last message, which must be one of the assistant with content.",
                "invalid_value");
    return "";
  }
  if (content->is_array() && content->get_array().size() == 1) content = TextOfPart(content->get_array()[0]);
  if (content != nullptr && content->is_string()) return std::string(content->get_string());
  fields.Fail("echo", "'echo' needs a last message that is one text, not a list of several parts.",
              "invalid_value");
  return "";
}

void CheckModalities(RequestFields& fields) {
  const json::array* modalities = fields.Array("modalities");
  if (modalities == nullptr) return;
  for (const json::value& kind : *modalities) {
    if (!kind.is_string() || kind.get_string() != "text")
      return fields.Fail(UnsupportedParameter("modalities", "output other than text"));
  }
}

// Sets how the answer is parsed.
void ReadCalls(ToolRequest tools, const ApiContext& context, ChatRequest* request) {
  GenerationRequest& generation = request->generation;
  if (!tools.shown.empty()) request->prompt.input.tools = std::move(tools.shown);
  if (tools.callable != nullptr && context.tool_format != nullptr) {
    generation.output.format = context.tool_format;
    generation.output.tools = tools.callable;
    generation.most_calls = tools.parallel ? context.limits.max_tool_calls : 1;
    generation.function_call = tools.functions;
    request->called = std::move(tools.called);
    request->forced = tools.forced;
    generation.output.id_seed =
        SplitMix64((*context.seeds)++) ^ std::bit_cast<uint64_t>(context.clock->NowSeconds());
  } else if (context.tool_format != nullptr && context.tool_format->channels) {
    generation.output.format = context.tool_format;  // reasoning is a channel of it
    generation.output.tools = std::make_shared<const ToolNames>();
  }
  generation.output.reasoning = context.reasoning;
}

constexpr std::string_view kSpace = " \t\r\n\f\v";
// Marks the end of the last message while it is rendered. The text of the message alone would not do: the
// template may append the same text after a message.
constexpr std::string_view kEndMark = "CONTINUED-FROM-HERE ";

// Marks the end of the last message. Returns the text of its last part, without surrounding white space.
Parsed<std::string> MarkFinalMessage(json::array* messages) {
  json::value* content = messages->back().get_object().if_contains("content");
  if (content != nullptr && content->is_array() && !content->get_array().empty())
    content = const_cast<json::value*>(TextOfPart(content->get_array().back()));
  const std::string text =
      content != nullptr && content->is_string() ? std::string(content->get_string()) : std::string();
  const size_t from = text.find_first_not_of(kSpace);
  if (from == std::string::npos) {
    return BadParameter("continue_final_message", "'continue_final_message' needs a last message with text.",
                        "invalid_value");
  }
  content->get_string().append(kEndMark);
  return text.substr(from, text.find_last_not_of(kSpace) - from + 1);
}

// Cuts a rendered text at the mark; the rest is the template's end of a message. If the template stripped the
// blank at the end of the mark, it strips messages, so the white space at the end of the text is removed too.
Parsed<MarkedText> CutAtEndMark(const MarkedText& marked, std::string_view last) {
  const std::string_view whole = marked.bytes();
  const size_t at = whole.rfind(kEndMark.substr(0, kEndMark.size() - 1));
  const bool keeps_space = at != std::string::npos && whole.substr(at).starts_with(kEndMark);
  const std::string_view text = whole.substr(0, at == std::string::npos ? 0 : at);
  const std::string_view trimmed = text.substr(0, text.find_last_not_of(kSpace) + 1);
  if (!trimmed.ends_with(last)) {
    return BadParameter(
        "continue_final_message",
        "The chat template does not show the last message unchanged, so it cannot be continued.",
        "invalid_value");
  }
  return marked.Part(0, keeps_space ? text.size() : trimmed.size());
}

// What the prompt depends on.
void RecordInput(const ChatTemplate::Input& input, PromptRecord* record) {
  json::object variables = input.extra;
  const auto hash = [](const json::value& value) {
    return value.is_null() ? 0 : FnvAdd(kFnvEmpty, json::serialize(value));
  };
  if (const json::value* effort = variables.if_contains("reasoning_effort")) {
    record->effort = hash(*effort);
    variables.erase("reasoning_effort");
  }
  variables.emplace("documents", input.documents);
  variables.emplace("add_generation_prompt", input.add_generation_prompt);
  record->variables = hash(variables);
  record->tools = hash(input.tools);
  record->AddMessages(input.messages);
}

ApiError TemplateError(const Status& status) {
  return BadParameter("messages", "The chat template rejects these messages: " + status.message(),
                      "invalid_value");
}

// Renders a conversation with the template of the model.
Parsed<MarkedText> Render(const ApiContext& context, ChatPrompt prompt) {
  prompt.input.unix_seconds = context.clock->UnixSeconds();
  FitTools(context.tool_format, context.chat_template->caps(), &prompt.input);
  std::string last;
  if (prompt.continue_final_message) {
    Parsed<std::string> marked = MarkFinalMessage(&prompt.input.messages);
    if (!marked.ok()) return marked.error();
    last = *std::move(marked);
  }
  Result<MarkedText> text = context.chat_template->RenderMarked(prompt.input);
  if (!text.ok()) return TemplateError(text.status());
  if (prompt.continue_final_message) return CutAtEndMark(*text, last);
  return *std::move(text);
}

PromptEnd EndOf(std::string_view prompt, const ReasoningTags& tags) {
  const std::string_view written = prompt.substr(0, prompt.find_last_not_of(kSpace) + 1);
  if (written.ends_with(tags.begin)) return PromptEnd::kInReasoning;
  return written.ends_with(tags.end) ? PromptEnd::kAfterReasoning : PromptEnd::kPlain;
}

}  // namespace

void AddChatPromptFields(FieldTable* table) {
  table->Array("messages", R"({"type":"object","required":["role"],"properties":{"role":{"enum":[
      "system","developer","user","assistant","tool","function"]}}})");
  table->Bool("add_generation_prompt").Bool("continue_final_message").Bool("add_special_tokens");
  table->Object("chat_template_kwargs").String("reasoning_effort").Array("documents");
  table->Unsupported(kUnsupportedTemplate);
}

const FieldTable& ChatFields() {
  static const FieldTable table = [] {
    FieldTable made;
    AddGenerationFields(&made);
    AddChatPromptFields(&made);
    AddChatLogprobsFields(&made);
    AddToolFields(&made);
    AddConstraintFields(&made);
    AddUnsupportedFields(kUnsupportedChatFields, &made);
    made.Bool("echo").Array("modalities", R"({"const":"text"})");
    made.Ignored({"store", "verbosity", "prediction", "moderation"});
    return made.Required("messages");
  }();
  return table;
}

ChatPrompt ReadChatPrompt(RequestFields& fields) {
  ChatPrompt prompt;
  ReadMessages(fields, &prompt);
  prompt.input.add_generation_prompt = fields.Bool("add_generation_prompt", true);
  prompt.continue_final_message = fields.Bool("continue_final_message", false);
  prompt.add_special_tokens = fields.Bool("add_special_tokens", false);
  if (prompt.continue_final_message) {
    const json::value* asked = fields.Find("add_generation_prompt");
    if (asked != nullptr && prompt.input.add_generation_prompt) {
      fields.Fail("continue_final_message",
                  "'continue_final_message' and 'add_generation_prompt' exclude each other.",
                  "invalid_value");
    }
    prompt.input.add_generation_prompt = false;
  }
  if (const json::object* extra = fields.Object("chat_template_kwargs")) prompt.input.extra = *extra;
  if (const auto effort = fields.String("reasoning_effort"))
    prompt.input.extra.emplace("reasoning_effort", *effort);
  if (const json::array* documents = fields.Array("documents")) prompt.input.documents = *documents;
  ReadShownTools(fields, &prompt);
  if (fields.Find("chat_template") != nullptr)
    fields.Fail(UnsupportedParameter("chat_template", kUnsupportedTemplate[0].feature));
  return prompt;
}

Parsed<ChatRequest> ReadChatRequest(const json::object& body, const ApiContext& context) {
  RequestFields fields(body, ChatFields());
  ChatRequest request;
  request.generation = ReadGenerationRequest(fields, context);
  if (fields.error()) return *fields.error();
  if (auto error = CheckModel(request.generation.model, context)) return *error;
  request.prompt = ReadChatPrompt(fields);
  request.generation.sampling.logprobs = ReadChatLogprobs(fields, context);
  request.echo = ReadEcho(fields, request.prompt);
  RejectUnsupportedFields(fields, kUnsupportedChatFields);
  CheckModalities(fields);
  if (!fields.error()) ReadToolsAndConstraint(fields, context, &request);
  if (fields.error()) return *fields.error();
  if (auto error = TakeMarks(&request.prompt)) return *error;
  return request;
}

void ReadToolsAndConstraint(RequestFields& fields, const ApiContext& context, ChatRequest* request) {
  ReadCalls(ReadTools(fields, context), context, request);
  if (fields.error() || request->forced) return;  // a forced call has no content to which a format applies
  ReadConstraint(fields, context, &request->generation);
  // The format holds for the whole answer, which has neither calls nor reasoning then.
  if (request->generation.constraint != nullptr) {
    request->generation.output = {};
    request->called = {};
  }
}

std::optional<ApiError> SetCallGrammar(const ApiContext& context, PromptEnd end, ChatRequest* request) {
  if (request->called.empty()) return std::nullopt;
  // Between channels, only a call that is forced has a grammar.
  if (context.tool_format->channels && !request->forced) return std::nullopt;
  const bool strict = std::ranges::any_of(request->called, &grammar::CalledFunction::strict);
  using Place = grammar::CallReasoning::Place;
  GenerationRequest& generation = request->generation;
  grammar::CallSpec spec{.functions = std::move(request->called),
                         .writing = *context.call_writing,
                         .most_calls = generation.most_calls,
                         .optional = !request->forced};
  if (context.tool_format->channels) {
    spec.reasoning = {Place::kMay, "<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant"};
  } else if (context.reasoning != nullptr && end != PromptEnd::kAfterReasoning) {
    spec.reasoning = {end == PromptEnd::kInReasoning ? Place::kBegun : Place::kMay,
                      std::string(context.reasoning->begin), std::string(context.reasoning->end), ""};
  }
  const std::string field = generation.function_call ? "functions" : "tools";
  if (auto error = SetCalls(std::move(spec), field, context, &generation)) {
    if (error->status != 400 || request->forced || strict) return error;
    return std::nullopt;  // the parser finds calls, whatever they are
  }
  // A call that is not forced may begin in another way than the grammar knows, or end too early.
  generation.output.trusted = request->forced;
  return std::nullopt;
}

Parsed<MarkedText> RenderChat(const ApiContext& context, ChatPrompt prompt, Work& work) {
  if (context.chat_template == nullptr) {
    return BadParameter(
        "messages",
        "The model '" + context.model_names.front() +
            "' has no chat template; use /v1/completions, or start the server with --chat-template FILE.",
        "unsupported_parameter");
  }
  const size_t needed = kRenderBytes * work.bytes();
  if (!work.TryGrow(needed)) return NoRoomError(work.budget(), work.bytes() + needed);
  Parsed<MarkedText> text = Render(context, std::move(prompt));
  work.Shrink(needed);
  if (text.ok() && !work.TryGrow(text->size()))
    return NoRoomError(work.budget(), work.bytes() + text->size());
  return text;
}

Parsed<std::vector<TokenId>> EncodeChat(const ApiContext& context, ChatPrompt prompt, bool must_fit,
                                        Work& work, const AlsoOfChat& also) {
  const bool add_special = prompt.add_special_tokens;
  if (also.record != nullptr) RecordInput(prompt.input, also.record);
  std::optional<ChatPrompt> marked;
  if (also.breakpoints != nullptr && !prompt.marks.empty()) marked = prompt;
  const Parsed<MarkedText> text = RenderChat(context, std::move(prompt), work);
  if (!text.ok()) return text.error();
  if (must_fit) {
    if (auto error = CheckPromptBytes(context, text->size(), "messages")) return *error;
  }
  if (also.end != nullptr && context.reasoning != nullptr)
    *also.end = EndOf(text->bytes(), *context.reasoning);
  std::vector<PlacedAnswers> answers;
  if (also.answer != nullptr) {
    answers = context.generated->Find(also.answer->scope, text->bytes());
    also.answer->place = PlaceAfter(text->bytes());
  }
  const auto encode_part = [&](const MarkedText& part, TextStart start) {
    return EncodeText(context, part, {.add_special_tokens = add_special, .start = start}, "messages", work);
  };
  const auto encode = [&](size_t size) {
    MarkedText part = text->Part(0, size);
    if (context.special_tokens_in_content) part = MarkedText::Own(part.bytes());
    return EncodeReusing(*context.tokenizer, part, answers, encode_part);
  };
  Parsed<std::vector<TokenId>> ids = encode(text->size());
  if (!answers.empty() && ids.ok()) {  // EncodeText has reserved the parts alone
    const size_t needed = ids->capacity() * sizeof(TokenId);
    if (!work.TryGrow(needed)) return NoRoomError(work.budget(), work.bytes() + needed);
  }
  if (also.record != nullptr && ids.ok()) {
    const size_t needed = kRecordBytes * text->size();
    if (!work.TryGrow(needed)) return NoRoomError(work.budget(), work.bytes() + needed);
    also.record->AddPrompt(*text, *ids);
  }
  if (!ids.ok() || !marked) return ids;
  PromptMarks marks = marked->marks;
  marked->input = marks.Marked(std::move(marked->input), text->bytes());
  const Parsed<MarkedText> with_marks = RenderChat(context, *std::move(marked), work);
  if (!with_marks.ok()) return ids;  // a template that checks texts: there are no breakpoints
  Parsed<std::vector<Breakpoint>> placed = marks.Place(*text, *with_marks, *ids, encode);
  if (!placed.ok()) return placed.error();
  *also.breakpoints = *std::move(placed);
  return ids;
}

}  // namespace prefixd
