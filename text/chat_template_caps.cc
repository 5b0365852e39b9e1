// Probing: finds what a template accepts by rendering small conversations. They contain words that no
// template contains itself.
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "text/chat_template.h"
#include "text/jinja/template.h"

namespace prefixd {
namespace {

namespace json = boost::json;

constexpr char kPlain[] = "a plain conversation";
constexpr char kWord[] = "qzxneedle";
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

json::object ToolResult() {
  json::object result = Message("tool", "1");
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
  return RenderAsIs(input, messages, limits);
}

void ChatTemplate::Probe() {
  Input input;
  const auto render = [&](const json::array& messages) { return Try(input, messages); };

  // A template accepts lists of parts when it shows their text, and not as a printed list.
  const json::value part = json::object{{"type", "text"}, {"text", kWord}};
  const auto list = render({Message("user", json::array{part})});
  caps_.accepts_content_lists = Shows(list, kWord) && !Shows(list, "'text'") && !Shows(list, "\"text\"");

  const auto plain = render({Message("user", "u")});
  caps_.supports_system_role =
      Shows(render({Message("system", kWord), Message("user", "u")}), kWord) || !plain.ok();
  caps_.knows_developer_role = template_->MentionsString("developer") &&
                               Shows(render({Message("developer", kWord), Message("user", "u")}), kWord);
  caps_.emits_bos = plain.ok() && BeginsWithBos(*plain);
  input.unix_seconds = int64_t{400} * 24 * 60 * 60;  // a different day, month and year
  const auto later = render({Message("user", "u")});
  caps_.shows_date = plain.ok() && later.ok() && *plain != *later;
  ProbeToolCalls();
  ProbeGrowth();
}

void ChatTemplate::ProbeToolCalls() {
  const auto render = [&](const json::array& messages) { return Try({}, messages); };
  Input with_tools;
  with_tools.tools = Tools();
  caps_.supports_tools = Shows(Try(with_tools, {Message("user", "u")}), kToolName);

  const json::object arguments{{"qzxkey", "qzxvalue"}};
  const auto as_object = render(ToolTurn("", arguments));
  const auto as_text = render(ToolTurn("", kArgumentsText));
  const bool text_is_shown = Shows(as_text, kArgumentsText);  // rather than as a string in JSON
  caps_.supports_tool_calls = Shows(as_object, kToolName) || Shows(as_text, kToolName);
  caps_.accepts_object_arguments = Shows(as_object, "qzxvalue");
  caps_.needs_object_arguments = caps_.accepts_object_arguments && !text_is_shown;

  const json::value usable =
      caps_.needs_object_arguments ? json::value(arguments) : json::value(kArgumentsText);
  json::array parallel = ToolTurn("", usable);
  json::array& calls = parallel[1].as_object()["tool_calls"].as_array();
  json::value second = calls[0];
  second.as_object()["function"].as_object()["name"] = kWord;
  second.as_object()["id"] = "qzxcall02";
  calls.push_back(std::move(second));
  const auto both = render(parallel);
  caps_.supports_parallel_tool_calls = Shows(both, kToolName) && Shows(both, kWord);

  const auto null_content = render(ToolTurn(nullptr, usable));
  const auto empty_content = render(ToolTurn("", usable));
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
  const json::object call = ToolCall("", kArgumentsText);
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
