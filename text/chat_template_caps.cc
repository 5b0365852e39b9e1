// Probing: finds what a template accepts by rendering small conversations. They contain words that no
// template contains itself.
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <optional>

#include "text/chat_template.h"
#include "text/jinja/template.h"

namespace prefixd {
namespace {

namespace json = boost::json;

using Content = ChatTemplate::Content;
using Role = ChatTemplate::Role;

constexpr char kPlain[] = "a plain conversation";
constexpr char kWord[] = "qzxneedle";
constexpr char kSecondWord[] = "qzxthread";
constexpr char kToolName[] = "qzxtool";
constexpr char kArgumentsText[] = R"({"qzxkey": "qzxvalue"})";

json::object Message(std::string_view role, json::value content) {
  return {{"role", role}, {"content", std::move(content)}};
}

// An assistant message with one tool call. Some templates require an id of nine letters and digits.
json::object ToolCall(json::value content, json::value arguments) {
  json::object message = Message("assistant", std::move(content));
  message["tool_calls"] = json::array{
      json::object{{"id", "qzxcall01"},
                   {"type", "function"},
                   {"function", json::object{{"name", kToolName}, {"arguments", std::move(arguments)}}}}};
  return message;
}

json::object ToolResult(json::value content = "1") {
  json::object result = Message("tool", std::move(content));
  result["tool_call_id"] = "qzxcall01";
  result["name"] = kToolName;
  return result;
}

// A user message, a tool call of the assistant, and its result.
json::array ToolTurn(json::value content, json::value arguments) {
  return {Message("user", "u"), ToolCall(std::move(content), std::move(arguments)), ToolResult()};
}

json::value Tools() {
  const json::object schema{{"type", "object"},
                            {"properties", json::object{{"a", json::object{{"type", "string"}}}}}};
  return json::array{json::object{
      {"type", "function"},
      {"function", json::object{{"name", kToolName}, {"description", "d"}, {"parameters", schema}}}}};
}

// What stands around the messages that a probe is about. Some templates raise without a system message or
// without tools, or show something only from the second turn on.
struct Frame {
  bool system, tools, turns;
};
constexpr Frame kFrames[] = {{false, false, false}, {true, false, false}, {false, true, false},
                             {true, true, false},   {false, false, true}, {true, false, true},
                             {false, true, true},   {true, true, true}};

// The conversation of a frame that ends with `messages`. Those may begin with a system message of their own.
ChatTemplate::Input InFrame(const Frame& frame, json::array messages) {
  ChatTemplate::Input input;
  if (frame.tools) input.tools = Tools();
  const bool own_system = messages.at(0).at("role") == "system";
  if (own_system || frame.system) input.messages.push_back(own_system ? messages[0] : Message("system", "s"));
  if (frame.turns) {
    input.messages.push_back(Message("user", "u0"));
    input.messages.push_back(Message("assistant", "a0"));
  }
  input.messages.insert(input.messages.end(), messages.begin() + (own_system ? 1 : 0), messages.end());
  return input;
}

// A form of the tool call in front of a probed tool message. A template may accept only some.
struct CallForm {
  json::value content, arguments;
};
const std::vector<CallForm>& CallForms() {
  static const auto* const forms = [] {
    auto* made = new std::vector<CallForm>;
    const json::object object{{"qzxkey", "qzxvalue"}};
    for (const json::value& content : {json::value(""), json::value(nullptr), json::value("c")}) {
      made->push_back({content, object});
      made->push_back({content, kArgumentsText});
    }
    return made;
  }();
  return *forms;
}

// The messages that show how the template treats `content` in a message of `role`.
json::array About(Role role, const json::value& content, const CallForm& form) {
  switch (role) {
    case Role::kSystem:
      return {Message("system", content), Message("user", "u")};
    case Role::kUser:
      return {Message("user", content)};
    case Role::kAssistant:
      return {Message("user", "u"), Message("assistant", content), Message("user", "v")};
    case Role::kTool:
      break;
  }
  return {Message("user", "u"), ToolCall(form.content, form.arguments), ToolResult(content)};
}

json::value Part(const json::value& text) { return json::object{{"type", "text"}, {"text", text}}; }

bool Shows(const Result<std::string>& rendered, std::string_view word) {
  return rendered.ok() && rendered->find(word) != std::string::npos;
}

size_t CountNone(const std::string& text) {
  size_t count = 0;
  for (size_t at = text.find("None"); at != std::string::npos; at = text.find("None", at + 4)) ++count;
  return count;
}

}  // namespace

Result<std::string> ChatTemplate::Try(const Input& input, const json::array& messages) const {
  jinja::Limits limits = options_.limits;
  limits.steps = std::min<int64_t>(limits.steps, 1'000'000);
  limits.bytes = std::min<int64_t>(limits.bytes, 64 << 20);
  limits.string_bytes = std::min<size_t>(limits.string_bytes, 1 << 20);
  PREFIXD_ASSIGN_OR_RETURN(MarkedText text, RenderAsIs(input, messages, limits));
  return std::move(text).TakeBytes();
}

void ChatTemplate::Probe() {
  for (const Role role : {Role::kSystem, Role::kUser, Role::kAssistant, Role::kTool}) ProbeContent(role);
  caps_.accepts_content_lists = caps_.content[static_cast<size_t>(Role::kUser)] == Content::kTextOrList ||
                                caps_.content[static_cast<size_t>(Role::kUser)] == Content::kList;
  bool system_is_shown = false, renders_without = false;
  std::optional<Frame> plain_frame;
  for (const Frame& frame : kFrames) {
    const auto render = [&](const char* role) {
      const Input input = InFrame(frame, {Message(role, kWord), Message("user", "u")});
      return Try(input, input.messages);
    };
    const Input plain = InFrame(frame, {Message("user", "u")});
    const bool renders = Try(plain, plain.messages).ok();
    if (renders && !plain_frame) plain_frame = frame;
    renders_without = renders_without || (renders && !frame.system);
    system_is_shown = system_is_shown || Shows(render("system"), kWord);
    if (!frame.system && template_->MentionsString("developer") && Shows(render("developer"), kWord))
      caps_.knows_developer_role = true;
  }
  caps_.supports_system_role = system_is_shown || !renders_without ||
                               caps_.content[static_cast<size_t>(Role::kSystem)] == Content::kList;
  Input input = InFrame(plain_frame.value_or(kFrames[0]), {Message("user", "u")});
  const auto plain = Try(input, input.messages);
  caps_.emits_bos = plain.ok() && BeginsWithBos(*plain);
  input.unix_seconds = int64_t{400} * 24 * 60 * 60;  // a different day, month and year
  const auto later = Try(input, input.messages);
  caps_.shows_date = plain.ok() && later.ok() && *plain != *later;
  ProbeToolCalls();
  ProbeGrowth();
}

// Renders the same text as a string, as a list with one part, and as a list of two parts. White space around
// the text shows whether both forms are stripped alike.
void ChatTemplate::ProbeContent(Role role) {
  const json::value text(std::string(" ") + kWord + "\n");
  const json::array one{Part(text)}, two{Part(kSecondWord), Part(text)};
  bool text_is_shown = false, text_renders = false, list_is_shown = false, same = true;
  for (const Frame& frame : kFrames) {
    for (const CallForm& form : CallForms()) {
      const auto render = [&](const json::value& content) {
        const Input input = InFrame(frame, About(role, content, form));
        return Try(input, input.messages);
      };
      const auto as_text = render(text), as_list = render(one);
      text_renders = text_renders || as_text.ok();
      if (Shows(as_text, kWord)) {
        text_is_shown = true;
        same = same && as_list.ok() && *as_list == *as_text;
        if (same) same = Shows(render(two), kWord) && Shows(render(two), kSecondWord);
        break;
      }
      list_is_shown = list_is_shown ||
                      (Shows(as_list, kWord) && !Shows(as_list, "'text'") && !Shows(as_list, "\"text\""));
      if (role != Role::kTool) break;
    }
  }
  Content& content = caps_.content[static_cast<size_t>(role)];
  content = text_is_shown   ? (same ? Content::kTextOrList : Content::kText)
            : list_is_shown ? Content::kList
            : text_renders  ? Content::kDropped
                            : Content::kText;
}

void ChatTemplate::ProbeToolCalls() {
  for (const Frame& frame : kFrames) {
    Input plain = InFrame(frame, {Message("user", "u")});
    plain.tools = Tools();
    if (Shows(Try(plain, plain.messages), kToolName)) caps_.supports_tools = true;
  }
  const json::object arguments{{"qzxkey", "qzxvalue"}};
  const auto render = [&](const Frame& frame, json::array messages) {
    const Input input = InFrame(frame, std::move(messages));
    return Try(input, input.messages);
  };
  // The first frame and content with which the arguments are shown, else with which the call is rendered.
  Frame frame = kFrames[0];
  json::value content = "";
  bool renders = false;
  for (const Frame& candidate : kFrames) {
    for (const json::value& with : {json::value(""), json::value(nullptr), json::value("c")}) {
      if (caps_.shows_arguments) break;
      const auto as_object = render(candidate, ToolTurn(with, arguments));
      const auto as_text = render(candidate, ToolTurn(with, kArgumentsText));
      const bool text_is_shown = Shows(as_text, kArgumentsText);  // rather than as a string in JSON
      if (Shows(as_object, kToolName) || Shows(as_text, kToolName)) caps_.supports_tool_calls = true;
      caps_.accepts_object_arguments = Shows(as_object, "qzxvalue");
      caps_.needs_object_arguments = caps_.accepts_object_arguments && !text_is_shown;
      caps_.shows_arguments = caps_.accepts_object_arguments || text_is_shown;
      if (!caps_.shows_arguments && (renders || !(as_object.ok() || as_text.ok()))) continue;
      renders = true;
      frame = candidate;
      content = with;
    }
  }
  const json::value usable =
      caps_.needs_object_arguments ? json::value(arguments) : json::value(kArgumentsText);
  json::array parallel = ToolTurn(content, usable);
  json::array& calls = parallel[1].as_object()["tool_calls"].as_array();
  json::value second = calls[0];
  second.as_object()["function"].as_object()["name"] = kWord;
  second.as_object()["id"] = "qzxcall02";
  calls.push_back(std::move(second));
  const auto both = render(frame, parallel);
  caps_.supports_parallel_tool_calls = Shows(both, kToolName) && Shows(both, kWord);

  const auto null_content = render(frame, ToolTurn(nullptr, usable));
  const auto empty_content = render(frame, ToolTurn("", usable));
  caps_.requires_non_null_content =
      !null_content.ok() || (empty_content.ok() && CountNone(*null_content) > CountNone(*empty_content));
}

// Probes conversations of two answers and a third question, which clients build turn by turn.
void ChatTemplate::ProbeGrowth() {
  const auto answered = [](const json::object& first, const json::object& second) {
    return json::array{Message("user", "u1"), first, Message("user", "u2"), second, Message("user", "u3")};
  };
  const auto plain = answered(Message("assistant", "a1"), Message("assistant", "a2"));
  Input input;
  input.messages = plain;
  ProbeGrowth(kPlain, input);

  input.extra = {{"enable_thinking", false}};
  ProbeGrowth("a plain conversation with enable_thinking = false", input);
  input.extra = {};

  input.messages.insert(input.messages.begin(), Message("system", "s"));
  ProbeGrowth("a conversation with a system message", input);

  const auto thinking = [](const char* answer) {
    json::object message = Message("assistant", answer);
    message["reasoning_content"] = "why";
    return message;
  };
  input.messages = answered(thinking("a1"), thinking("a2"));
  ProbeGrowth("a conversation with reasoning", input);
  input.messages = answered(Message("assistant", "<think>\nwhy\n</think>\n\na1"),
                            Message("assistant", "<think>\nwhy\n</think>\n\na2"));
  ProbeGrowth("a conversation with reasoning in the content", input);

  if (!caps_.supports_tools && !caps_.supports_tool_calls) return;
  input.tools = Tools();
  input.messages = plain;
  ProbeGrowth("a conversation with tools", input);
  const json::object call = ToolCall("", kArgumentsText);  // FitMessages gives the arguments their form
  input.messages = {Message("user", "u1"), call, ToolResult(), Message("assistant", "a1"),
                    Message("user", "u2"), call, ToolResult(), Message("assistant", "a2"),
                    Message("user", "u3")};
  ProbeGrowth("a conversation with tool calls", input);
}

// Adds the first rewrite of each kind in `conversation`. Ignores a conversation that the template rejects.
void ChatTemplate::ProbeGrowth(const std::string& conversation, Input input) {
  const auto fitted = FitMessages(input.messages, caps_);
  if (!fitted.ok()) return;
  const auto render = [&](size_t messages, bool generate) {
    input.add_generation_prompt = generate;
    return Try(input, json::array(fitted->begin(), fitted->begin() + static_cast<ptrdiff_t>(messages)));
  };
  const auto note = [&](Rewrite::Kind kind, size_t turn, const Result<std::string>& shorter,
                        const Result<std::string>& longer) {
    if (!shorter.ok() || !longer.ok() || longer->starts_with(*shorter)) return;
    const auto same = [&](const Rewrite& known) {
      // The same kind of rewrite in the plain conversation covers it.
      return known.kind == kind && (known.conversation == conversation || known.conversation == kPlain);
    };
    if (std::any_of(rewrites_.begin(), rewrites_.end(), same)) return;
    const size_t least = std::min(shorter->size(), longer->size());
    const auto end =
        std::mismatch(shorter->begin(), shorter->begin() + static_cast<ptrdiff_t>(least), longer->begin());
    rewrites_.push_back(
        {conversation, kind, turn, static_cast<size_t>(end.first - shorter->begin()), shorter->size()});
  };
  size_t turn = 0;
  for (size_t i = 0; i < fitted->size(); ++i) {
    if (fitted->at(i).at("role") != "assistant") continue;
    ++turn;
    const auto answered = render(i + 1, false);
    const auto prompt = render(i, true), next_prompt = render(i + 2, true);  // a message follows every answer
    note(Rewrite::Kind::kGeneration, turn, prompt, answered);
    note(Rewrite::Kind::kGeneration, turn, prompt, next_prompt);
    note(Rewrite::Kind::kHistory, turn, answered, render(i + 2, false));
    note(Rewrite::Kind::kHistory, turn, answered, next_prompt);
  }
}

std::string ChatTemplate::Rewrite::Describe() const {
  const std::string what =
      kind == Kind::kHistory
          ? "answer " + std::to_string(turn) + " is rendered differently once the next turn follows"
          : "answer " + std::to_string(turn) + " does not follow the prompt it was generated from";
  return "in " + conversation + ", " + what + ": " + std::to_string(kept_bytes) + " of " +
         std::to_string(bytes) + " bytes stay the same, and a cached prefix ends there";
}

}  // namespace prefixd
