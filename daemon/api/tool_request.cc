#include "daemon/api/tool_request.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/fnv.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr std::string_view kGeneric = "generic";

bool ShowsTools(const ChatTemplate::Caps& caps) { return caps.supports_tools || caps.supports_tool_calls; }

std::string Place(std::string_view name, size_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

const json::value* Member(const json::value* value, std::string_view name) {
  const json::object* object = value == nullptr ? nullptr : value->if_object();
  const json::value* member = object == nullptr ? nullptr : object->if_contains(name);
  return member == nullptr || member->is_null() ? nullptr : member;
}

std::optional<std::string_view> TextMember(const json::value* value, std::string_view name) {
  const json::value* member = Member(value, name);
  if (member == nullptr || !member->is_string()) return std::nullopt;
  return std::string_view(member->get_string());
}

void AddTypes(const json::value& schema, std::set<std::string, std::less<>>* types) {
  const json::value* type = Member(&schema, "type");
  if (type != nullptr && type->is_string()) types->emplace(type->get_string());
  if (type != nullptr && type->is_array()) {
    for (const json::value& one : type->get_array())
      if (one.is_string()) types->emplace(one.get_string());
  }
  for (const char* name : {"anyOf", "oneOf"}) {
    const json::value* of = Member(&schema, name);
    if (of == nullptr || !of->is_array()) continue;
    for (const json::value& one : of->get_array()) {
      const auto text = TextMember(&one, "type");
      if (text) types->emplace(*text);
    }
  }
}

ToolTypes TypesOf(const json::value* parameters) {
  ToolTypes types;
  const json::value* properties = Member(parameters, "properties");
  if (properties == nullptr || !properties->is_object()) return types;
  for (const auto& [name, schema] : properties->get_object())
    AddTypes(schema, &types.arguments[std::string(name)]);
  return types;
}

// The functions of a request that may be called.
struct Functions {
  ToolNames names;
  std::vector<grammar::CalledFunction> called;  // in the order of the request
};

// Reads one function; adds it to *functions.
std::optional<ApiError> ReadFunction(const json::value* function, const std::string& place,
                                     Functions* functions) {
  const auto name = TextMember(function, "name");
  if (!name) return BadParameter(place + ".name", "A function needs a name.", "missing_required_parameter");
  if (!IsGivenName(*name)) {
    return BadParameter(place + ".name",
                        "A function's name has 1 to 64 letters, digits, '_' and '-', unlike " +
                            QuoteJson(*Member(function, "name")) + ".",
                        "invalid_value");
  }
  const json::value* parameters = Member(function, "parameters");
  if (parameters != nullptr && !parameters->is_object()) {
    return BadParameter(
        place + ".parameters",
        "The parameters of a function must be a JSON Schema, not " + QuoteJson(*parameters) + ".",
        "invalid_type");
  }
  const json::value* strict = Member(function, "strict");
  if (strict != nullptr && !strict->is_bool())
    return BadParameter(place + ".strict", "'strict' must be true or false, not " + QuoteJson(*strict) + ".",
                        "invalid_type");
  if (!functions->names.emplace(*name, TypesOf(parameters)).second) {
    return BadParameter(place + ".name", "Two functions have the name '" + std::string(*name) + "'.",
                        "invalid_value");
  }
  functions->called.push_back({std::string(*name), parameters == nullptr ? json::value() : *parameters,
                               strict != nullptr && strict->get_bool()});
  return std::nullopt;
}

// The functions of `tools`. Tools that the servers of others run, such as web_search, are not shown.
void ReadToolList(RequestFields& fields, const ApiContext& context, Functions* functions,
                  ToolRequest* request) {
  const char* const field = fields.Find("tools") != nullptr ? "tools" : "functions";
  const json::array* list = fields.Array(field);
  if (list == nullptr) return;
  request->functions = field == std::string_view("functions") && !list->empty();
  if (list->size() > context.limits.max_tools) {
    return fields.Fail(field,
                       "'" + std::string(field) + "' may contain at most " +
                           std::to_string(context.limits.max_tools) + " tools, not " +
                           std::to_string(list->size()) + ".",
                       "array_above_max_length");
  }
  for (size_t i = 0; i < list->size(); ++i) {
    const json::value& tool = (*list)[i];
    const std::string place = Place(field, i);
    if (!tool.is_object()) {
      return fields.Fail(
          BadParameter(place, "A tool must be an object, not " + QuoteJson(tool) + ".", "invalid_type"));
    }
    if (!request->functions) {
      const std::string_view type = TextMember(&tool, "type").value_or("function");
      if (type == "custom")
        return fields.Fail(UnsupportedParameter(place, "tools with arguments of free text (type 'custom')"));
      if (type != "function") {
        context.answers->AddSkippedTool();
        continue;
      }
    }
    const json::value* function = request->functions ? &tool : Member(&tool, "function");
    if (auto error = ReadFunction(function, request->functions ? place : place + ".function", functions))
      return fields.Fail(*std::move(error));
    request->shown.push_back(request->functions ? json::object{{"type", "function"}, {"function", tool}}
                                                : tool);
  }
}

ApiError WrongChoice(const std::string& field, const json::value& found) {
  return BadParameter(field,
                      "'" + field + "' must be \"auto\", \"none\", \"required\" or name functions, not " +
                          QuoteJson(found) + ".",
                      "invalid_value");
}

// The names that an object of the form {"function":{"name"}} or {"name"} chooses.
std::optional<std::string> NameIn(const json::value& value) {
  const json::value* function = Member(&value, "function");
  const auto name = TextMember(function != nullptr ? function : &value, "name");
  return name ? std::optional<std::string>(*name) : std::nullopt;
}

// Keeps the functions that `tool_choice` allows.
class ChoiceReader {
 public:
  ChoiceReader(RequestFields& fields, std::string field, ToolNames names)
      : fields_(fields), field_(std::move(field)), names_(std::move(names)) {}

  // Whether the answer must call one, and whether it calls no more. Valid after Read.
  bool forced() const { return forced_; }
  bool named() const { return named_; }

  // Null when no function may be called, or after an error.
  std::shared_ptr<const ToolNames> Read() {
    const json::value* choice = fields_.Find(field_);
    if (choice == nullptr) return All();
    if (choice->is_string()) return Mode(*choice, std::string_view(choice->get_string()));
    const json::value* allowed = Member(choice, "allowed_tools");
    if (TextMember(choice, "type") == "allowed_tools")
      return Allowed(allowed != nullptr ? *allowed : *choice);
    if (const auto name = choice->is_object() ? NameIn(*choice) : std::nullopt) {
      const auto found = names_.find(*name);
      if (found == names_.end()) return Unknown(*name);
      names_ = ToolNames{*found};
      named_ = true;
      return Forced();
    }
    fields_.Fail(WrongChoice(field_, *choice));
    return nullptr;
  }

 private:
  std::shared_ptr<const ToolNames> All() const {
    return names_.empty() ? nullptr : std::make_shared<const ToolNames>(names_);
  }
  std::shared_ptr<const ToolNames> Mode(const json::value& choice, std::string_view mode) {
    if (mode == "auto") return All();
    if (mode == "required") return names_.empty() ? Empty() : Forced();
    if (mode != "none") fields_.Fail(WrongChoice(field_, choice));
    return nullptr;
  }
  std::shared_ptr<const ToolNames> Allowed(const json::value& allowed) {
    const json::value* tools = Member(&allowed, "tools");
    if (tools == nullptr || !tools->is_array() || tools->get_array().empty()) {
      fields_.Fail(BadParameter(field_ + ".allowed_tools.tools", "'allowed_tools' needs a list of tools.",
                                "missing_required_parameter"));
      return nullptr;
    }
    ToolNames kept;
    for (const json::value& tool : tools->get_array()) {
      const auto name = NameIn(tool);
      const auto found = name ? names_.find(*name) : names_.end();
      if (found == names_.end()) return Unknown(name.value_or(QuoteJson(tool)));
      kept.insert(*found);
    }
    names_ = std::move(kept);
    const json::value* mode = Member(&allowed, "mode");
    return mode == nullptr ? All()
                           : Mode(*mode, mode->is_string() ? std::string_view(mode->get_string()) : "");
  }
  std::shared_ptr<const ToolNames> Unknown(const std::string& name) {
    fields_.Fail(BadParameter(field_, "'" + field_ + "' names '" + name + "', which is none of the tools.",
                              "invalid_value"));
    return nullptr;
  }
  std::shared_ptr<const ToolNames> Empty() {
    fields_.Fail(
        BadParameter(field_, "'" + field_ + "' asks for a call, but there are no tools.", "invalid_value"));
    return nullptr;
  }
  std::shared_ptr<const ToolNames> Forced() {
    forced_ = true;
    return All();
  }

  RequestFields& fields_;
  const std::string field_;
  ToolNames names_;
  bool forced_ = false, named_ = false;
};

// The text that explains the tools to a model whose template shows none.
std::string Instructions(const json::array& tools) {
  std::string text =
      "You may call functions. To call one, answer with nothing but a JSON object of this form:\n"
      "{\"tool_call\": {\"name\": \"NAME\", \"arguments\": {\"ARGUMENT\": VALUE}}}\n"
      "Otherwise answer as usual. The functions, with the JSON Schemas of their arguments:";
  for (const json::value& tool : tools) text += "\n" + json::serialize(tool);
  return text;
}

void AppendText(json::value* content, std::string_view text) {
  if (content->is_array()) {
    content->get_array().push_back(json::object{{"type", "text"}, {"text", text}});
  } else if (content->is_string() && !content->get_string().empty()) {
    content->get_string().append("\n\n").append(text);
  } else {
    *content = text;
  }
}

// A call as the model writes it in the format "generic".
std::string GenericCall(const json::value& call) {
  const json::value* function = Member(&call, "function");
  const json::value* arguments = Member(function, "arguments");
  std::string text = arguments == nullptr     ? "{}"
                     : arguments->is_string() ? std::string(arguments->get_string())
                                              : json::serialize(*arguments);
  if (text.empty()) text = "{}";
  return "{\"tool_call\": {\"name\": " + json::serialize(*Member(function, "name")) +
         ", \"arguments\": " + text + "}}";
}

void FitGeneric(ChatTemplate::Input* input) {
  json::array& messages = input->messages;
  for (json::value& value : messages) {
    json::object& message = value.get_object();
    if (json::value* calls = message.if_contains("tool_calls"); calls != nullptr && calls->is_array()) {
      std::string text;
      for (const json::value& call : calls->get_array())
        text += (text.empty() ? "" : "\n") + GenericCall(call);
      message.erase("tool_calls");
      if (!text.empty()) AppendText(&message["content"], text);
    } else if (message["role"] == "tool" || message["role"] == "function") {
      const json::value content = message["content"];
      value = json::object{{"role", "user"}, {"content", "Result of the call:"}};
      if (!content.is_array()) {
        AppendText(&value.get_object()["content"],
                   content.is_string() ? std::string_view(content.get_string()) : "");
        continue;
      }
      json::array parts = {json::object{{"type", "text"}, {"text", "Result of the call:"}}};
      for (const json::value& part : content.get_array()) parts.push_back(part);
      value.get_object()["content"] = std::move(parts);
    }
  }
  const std::string text = Instructions(input->tools.get_array());
  input->tools = nullptr;
  const json::value& role = messages.front().get_object()["role"];
  if (role == "system" || role == "developer") {
    AppendText(&messages.front().get_object()["content"], text);
  } else {
    messages.insert(messages.begin(), json::object{{"role", "system"}, {"content", text}});
  }
}

void FitId(json::object* object, std::string_view name) {
  json::value* id = object->if_contains(name);
  if (id == nullptr || !id->is_string()) return;
  const std::string_view text = id->get_string();
  const bool fits = text.size() == 9 && std::all_of(text.begin(), text.end(), [](char c) {
                      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
                    });
  if (fits) return;
  *id = MakeCallId(CallIdStyle::kNineCharacters, FnvAdd(kFnvEmpty, text), 0);
}

}  // namespace

void AddToolFields(FieldTable* table) {
  constexpr std::string_view kObject = R"({"type":"object"})";
  constexpr std::string_view kChoice = R"({"type":["string","object"]})";
  table->Array("tools", kObject).Any("tool_choice", kChoice).Bool("parallel_tool_calls");
  table->Array("functions", kObject).Any("function_call", kChoice);
}

ToolRequest ReadTools(RequestFields& fields, const ApiContext& context) {
  ToolRequest request;
  Functions functions;
  ReadToolList(fields, context, &functions, &request);
  request.parallel = fields.Bool("parallel_tool_calls", true) && !request.functions;
  if (fields.error()) return request;
  const char* const field = request.functions ? "function_call" : "tool_choice";
  ChoiceReader choice(fields, field, std::move(functions.names));
  request.callable = choice.Read();
  if (request.callable == nullptr || fields.error()) return request;
  request.forced = choice.forced();
  request.parallel = request.parallel && !choice.named();
  for (grammar::CalledFunction& function : functions.called)
    if (request.callable->contains(function.name)) request.called.push_back(std::move(function));
  return request;
}

void FitTools(const ToolFormat* format, const ChatTemplate::Caps& caps, ChatTemplate::Input* input) {
  const bool with_tools = input->tools.is_array() && !input->tools.get_array().empty();
  const bool generic = format != nullptr && format->name == kGeneric;
  if (with_tools && generic && !ShowsTools(caps)) FitGeneric(input);
  if (format == nullptr || format->ids != CallIdStyle::kNineCharacters) return;
  for (json::value& value : input->messages) {
    json::object& message = value.get_object();
    FitId(&message, "tool_call_id");
    json::value* calls = message.if_contains("tool_calls");
    if (calls == nullptr || !calls->is_array()) continue;
    for (json::value& call : calls->get_array())
      if (call.is_object()) FitId(&call.get_object(), "id");
  }
}

void SetOutputFormat(const std::string& format, bool reasoning, ApiContext* context) {
  if (context->chat_template == nullptr) return;
  const std::string& source = context->chat_template->source();
  if (format != "auto") {
    context->tool_format = FindToolFormat(format);
  } else if (ShowsTools(context->chat_template->caps())) {
    context->tool_format = &ToolFormatOf(source);
  } else {  // the system message of FitTools asks for this one
    context->tool_format = FindToolFormat(kGeneric);
  }
  PREFIXD_CHECK(context->tool_format != nullptr) << format;
  std::vector<std::string> ends;
  for (const TokenId id : context->eos) ends.push_back(context->tokenizer->TokenBytes(id));
  context->call_writing = WritingOf(*context->tool_format, *context->chat_template, ends);
  if (reasoning) context->reasoning = ReasoningTagsOf(source);
  for (const std::string_view text : MarkersOf(context->tool_format, context->reasoning)) {
    const auto id = context->tokenizer->TokenToId(text);
    if (id && context->tokenizer->IsSpecial(*id)) context->markers.push_back(*id);
  }
}

}  // namespace prefixd
