#include "text/chat_template.h"

#include <algorithm>
#include <optional>

#include "text/jinja/template.h"

namespace prefixd {
namespace {

namespace json = boost::json;

// Variables that chat_template_kwargs may not set, because they are fields of the request.
constexpr std::string_view kReserved[] = {"messages", "tools", "documents", "add_generation_prompt"};

std::string_view View(const json::string& text) { return {text.data(), text.size()}; }

// Appends `text` to `system` as a new paragraph.
void AppendSystem(std::string* system, std::string_view text) {
  if (!system->empty()) *system += "\n\n";
  *system += text;
}

// Calls `visit` with the arguments of every tool call.
template <typename Visit>
void EachArguments(const json::array& messages, Visit visit) {
  const auto member = [](const json::value* value, const char* key) {
    return value && value->is_object() ? value->get_object().if_contains(key) : nullptr;
  };
  for (const json::value& message : messages) {
    const json::value* calls = member(&message, "tool_calls");
    if (calls == nullptr || !calls->is_array()) continue;
    for (const json::value& call : calls->get_array()) {
      const json::value* arguments = member(member(&call, "function"), "arguments");
      if (arguments != nullptr) visit(*arguments);
    }
  }
}

bool HasArguments(const json::array& messages) {
  bool found = false;
  EachArguments(messages, [&](const json::value&) { found = true; });
  return found;
}

// Whether `rendered` contains the text of all arguments, rather than as a string in JSON.
bool ShowsArguments(const std::string& rendered, const json::array& messages) {
  bool shown = true;
  EachArguments(messages, [&](const json::value& arguments) {
    const auto text = arguments.is_string() ? Result<std::string>(std::string(View(arguments.get_string())))
                                            : jinja::JsonText(arguments);
    shown = shown && text.ok() && rendered.find(*text) != std::string::npos;
  });
  return shown;
}

class MessageFitter {
 public:
  explicit MessageFitter(const ChatTemplate::Caps& caps) : caps_(caps) {}

  Result<json::array> Run(const json::array& messages) {
    json::array fitted;
    fitted.reserve(messages.size());
    for (size_t i = 0; i < messages.size(); ++i) {
      where_ = "messages[" + std::to_string(i) + "]";
      if (!messages[i].is_object()) return InvalidArgument(where_ + " must be an object");
      json::object message = messages[i].get_object();
      PREFIXD_RETURN_IF_ERROR(FitMessage(&message));
      if (!MoveSystemText(message)) fitted.push_back(std::move(message));
    }
    if (!system_.empty()) {  // no user message follows the system text
      fitted.push_back(json::object{{"role", "user"}, {"content", system_}});
    }
    return fitted;
  }

 private:
  Status FitMessage(json::object* message) {
    const json::value* role = message->if_contains("role");
    if (role == nullptr || !role->is_string()) return InvalidArgument(where_ + ".role must be a string");
    const std::string_view name = View(role->get_string());
    if (name == "developer" && !caps_.knows_developer_role) {
      (*message)["role"] = "system";
    } else if (name == "function") {
      (*message)["role"] = "tool";
    }
    AliasReasoning(message);
    PREFIXD_RETURN_IF_ERROR(FitContent(message));
    if (json::value* calls = message->if_contains("tool_calls"); calls && calls->is_array()) {
      for (size_t i = 0; i < calls->get_array().size(); ++i)
        PREFIXD_RETURN_IF_ERROR(FitCall(&calls->get_array()[i], i));
    }
    return Status::Ok();
  }

  // Rule 1.
  static void AliasReasoning(json::object* message) {
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      const json::value* found = message->if_contains(name);
      if (found == nullptr || found->is_null()) continue;
      const json::value reasoning = *found;
      message->emplace("thinking", reasoning);
      (*message)["reasoning_content"] = reasoning;
      return;
    }
  }

  // The text of a part; null when the part is not text.
  static const json::value* TextOf(const json::value& part) {
    const json::object* object = part.if_object();
    const json::value* text = object ? object->if_contains("text") : &part;
    if (object && text == nullptr) text = object->if_contains("refusal");
    return text && text->is_string() ? text : nullptr;
  }

  Status FitContent(json::object* message) {
    // A key that is looked up to be written may move the members, so every other look-up comes before it.
    const std::string role(View(message->at("role").get_string()));
    json::value& content = (*message)["content"];
    if (content.is_null() && caps_.requires_non_null_content) content = "";
    if (content.is_array() && content.get_array().empty()) content = "";
    const bool moved = !caps_.supports_system_role && role == "system";
    const ChatTemplate::Content form = moved ? ChatTemplate::Content::kText : FormOf(role);
    if (form == ChatTemplate::Content::kList && content.is_string() && !content.get_string().empty()) {
      const json::string text = content.get_string();
      content = json::array{json::object{{"type", "text"}, {"text", text}}};
    }
    if (!content.is_array()) return Status::Ok();
    if (form == ChatTemplate::Content::kTextOrList || form == ChatTemplate::Content::kList) {
      NameParts(&content.get_array());
      return Status::Ok();
    }
    return Flatten(&content);
  }

  ChatTemplate::Content FormOf(std::string_view role) const {
    using Role = ChatTemplate::Role;
    const Role index = role == "system" || role == "developer" ? Role::kSystem
                       : role == "assistant"                   ? Role::kAssistant
                       : role == "tool"                        ? Role::kTool
                                                               : Role::kUser;
    return caps_.content[static_cast<size_t>(index)];
  }

  // Gives every text part the only form that templates know.
  static void NameParts(json::array* parts) {
    for (json::value& part : *parts) {
      const json::value* text = TextOf(part);
      if (text == nullptr || (part.is_object() && part.get_object().contains("text"))) continue;
      part = json::object{{"type", "text"}, {"text", json::string(text->get_string())}};
    }
  }

  Status Flatten(json::value* content) {
    std::string flat;
    const json::array& parts = content->get_array();
    for (size_t i = 0; i < parts.size(); ++i) {
      const json::value* text = TextOf(parts[i]);
      if (text == nullptr) {
        return InvalidArgument(where_ + ".content[" + std::to_string(i) +
                               "] is not text; this model accepts only text");
      }
      if (i > 0) flat += '\n';
      flat += View(text->get_string());
    }
    *content = flat;
    return Status::Ok();
  }

  Status FitCall(json::value* call, size_t index) {
    json::object* function = call->is_object() ? call->get_object().if_contains("function")
                                                     ? call->get_object()["function"].if_object()
                                                     : nullptr
                                               : nullptr;
    json::value* arguments = function ? function->if_contains("arguments") : nullptr;
    if (arguments == nullptr) return Status::Ok();
    if (arguments->is_object() && !caps_.accepts_object_arguments) {
      PREFIXD_ASSIGN_OR_RETURN(const std::string text, jinja::JsonText(*arguments));
      *arguments = json::string(text);
    } else if (arguments->is_string() && caps_.needs_object_arguments) {
      const std::string text(View(arguments->get_string()));
      std::optional<json::value> parsed =
          text.empty() ? json::value(json::object()) : jinja::ParseJsonText(text);
      if (!parsed || !parsed->is_object()) {
        return InvalidArgument(where_ + ".tool_calls[" + std::to_string(index) +
                               "].function.arguments must be the JSON text of an object");
      }
      *arguments = *std::move(parsed);
    }
    return Status::Ok();
  }

  // Rule 6. Keeps the text of a system message and returns true; the message is then dropped. Puts kept text
  // in front of the next user message.
  bool MoveSystemText(json::object& message) {
    if (caps_.supports_system_role) return false;
    const std::string role(View(message.at("role").get_string()));
    json::value& content = message["content"];
    if (role == "system") {
      if (content.is_string()) AppendSystem(&system_, View(content.get_string()));
      return true;
    }
    if (role == "user" && !system_.empty() && content.is_string()) {
      AppendSystem(&system_, View(content.get_string()));
      content = std::exchange(system_, {});
    } else if (role == "user" && !system_.empty() && content.is_array()) {
      auto& parts = content.get_array();
      parts.insert(parts.begin(),
                   json::object{{"type", "text"}, {"text", std::exchange(system_, {}) + "\n\n"}});
    }
    return false;
  }

  const ChatTemplate::Caps& caps_;
  std::string where_;   // names the current message in errors
  std::string system_;  // system text that no user message has received yet
};

}  // namespace

Result<json::array> FitMessages(const json::array& messages, const ChatTemplate::Caps& caps) {
  return MessageFitter(caps).Run(messages);
}

ChatTemplate::ChatTemplate(std::string source, std::unique_ptr<const jinja::Template> parsed, Options options)
    : source_(std::move(source)), template_(std::move(parsed)), options_(std::move(options)) {
  for (const auto& [name, text] : options_.special_tokens) tokens_[name] = text;
  if (!options_.bos_token.empty()) tokens_["bos_token"] = options_.bos_token;
  if (!options_.eos_token.empty()) tokens_["eos_token"] = options_.eos_token;
}

ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::Parse(std::string_view source, Options options) {
  PREFIXD_ASSIGN_OR_RETURN(auto parsed, jinja::Template::Parse(source));
  const std::string tool_use = std::exchange(options.tool_use, {});
  std::unique_ptr<const ChatTemplate> with_tools;
  if (!tool_use.empty()) {
    auto variant = Parse(tool_use, options);
    if (!variant.ok()) return variant.status().WithContext("the template 'tool_use'");
    with_tools = *std::move(variant);
  }
  std::unique_ptr<ChatTemplate> result(
      new ChatTemplate(std::string(source) + tool_use, std::move(parsed), std::move(options)));
  result->Probe();
  if (with_tools) result->AddToolUse(std::move(with_tools));
  return result;
}

void ChatTemplate::AddToolUse(std::unique_ptr<const ChatTemplate> tool_use) {
  tool_use_ = std::move(tool_use);
  caps_.supports_tools = tool_use_->caps_.supports_tools;
  caps_.supports_tool_calls = tool_use_->caps_.supports_tool_calls;
  caps_.supports_parallel_tool_calls = tool_use_->caps_.supports_parallel_tool_calls;
  for (Rewrite rewrite : tool_use_->rewrites_) {
    rewrite.conversation += " by the template 'tool_use'";
    rewrites_.push_back(std::move(rewrite));
  }
}

Result<std::string> ChatTemplate::Render(const Input& input) const {
  PREFIXD_ASSIGN_OR_RETURN(MarkedText text, RenderMarked(input));
  return std::move(text).TakeBytes();
}

Result<MarkedText> ChatTemplate::RenderMarked(const Input& input) const {
  const bool with_tools = input.tools.is_array() && !input.tools.get_array().empty();
  if (tool_use_ && with_tools) return tool_use_->RenderMarked(input);
  for (const auto reserved : kReserved) {
    if (input.extra.contains(reserved)) {
      return InvalidArgument("chat_template_kwargs may not contain '" + std::string(reserved) +
                             "'; it is a field of the request");
    }
  }
  if (caps_.shows_arguments || !HasArguments(input.messages)) return RenderFitted(input, caps_);
  // Rule 5: no probe tells the form. caps_ stands for texts.
  const auto as_texts = RenderFitted(input, caps_);
  if (as_texts.ok() && ShowsArguments(as_texts->bytes(), input.messages)) return as_texts;
  Caps objects = caps_;
  objects.needs_object_arguments = objects.accepts_object_arguments = true;
  const auto as_objects = RenderFitted(input, objects);
  return as_objects.ok() ? as_objects : as_texts;
}

Result<MarkedText> ChatTemplate::RenderFitted(const Input& input, const Caps& caps) const {
  PREFIXD_ASSIGN_OR_RETURN(const json::array messages, FitMessages(input.messages, caps));
  return RenderAsIs(input, messages, options_.limits);
}

Result<MarkedText> ChatTemplate::RenderAsIs(const Input& input, const json::array& messages,
                                            const jinja::Limits& limits) const {
  const json::value conversation(messages), generate(input.add_generation_prompt);
  jinja::Template::Variables variables;
  for (const auto& [name, value] : tokens_) variables.push_back({name, &value, /*input=*/false});
  for (const auto& [name, value] : input.extra) variables.push_back({name, &value});
  variables.push_back({"messages", &conversation});
  variables.push_back({"tools", &input.tools});
  variables.push_back({"documents", &input.documents});
  variables.push_back({"add_generation_prompt", &generate});
  return template_->RenderMarked(variables, input.unix_seconds, limits);
}

}  // namespace prefixd
