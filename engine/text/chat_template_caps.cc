// What a template takes, found by rendering small conversations that carry words which no template contains
// by itself.
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "engine/text/chat_template.h"
#include "engine/text/jinja_template.h"

namespace prefixd {
namespace {

namespace json = boost::json;

constexpr char kWord[] = "qzxneedle";
constexpr char kToolName[] = "qzxtool";
constexpr char kArgumentsText[] = R"({"qzxkey": "qzxvalue"})";

json::object Message(std::string_view role, json::value content) {
  return {{"role", role}, {"content", std::move(content)}};
}

// An assistant message with one tool call. The id has the nine letters and digits that some templates insist
// on.
json::object ToolCall(json::value content, json::value arguments) {
  json::object message = Message("assistant", std::move(content));
  message["tool_calls"] = json::array{
      json::object{{"id", "qzxcall01"},
                   {"type", "function"},
                   {"function", json::object{{"name", kToolName}, {"arguments", std::move(arguments)}}}}};
  return message;
}

// user, an assistant's tool call, its result.
json::array ToolTurn(json::value content, json::value arguments) {
  json::object result = Message("tool", "1");
  result["tool_call_id"] = "qzxcall01";
  result["name"] = kToolName;
  return {Message("user", "u"), ToolCall(std::move(content), std::move(arguments)), std::move(result)};
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

void ChatTemplate::Probe() {
  const Input input;
  const auto render = [&](const json::array& messages) { return RenderAsIs(input, messages); };

  // A list of parts counts as taken when its text is shown, and not as the print of a list.
  const json::value part = json::object{{"type", "text"}, {"text", kWord}};
  const auto list = render({Message("user", json::array{part})});
  caps_.accepts_content_lists = Shows(list, kWord) && !Shows(list, "'text'") && !Shows(list, "\"text\"");

  caps_.supports_system_role = Shows(render({Message("system", kWord), Message("user", "u")}), kWord) ||
                               !render({Message("user", "u")}).ok();
  caps_.knows_developer_role = template_->MentionsString("developer") &&
                               Shows(render({Message("developer", kWord), Message("user", "u")}), kWord);

  Input with_tools;
  const json::object schema{{"type", "object"},
                            {"properties", json::object{{"a", json::object{{"type", "string"}}}}}};
  with_tools.tools = json::array{json::object{
      {"type", "function"},
      {"function", json::object{{"name", kToolName}, {"description", "d"}, {"parameters", schema}}}}};
  caps_.supports_tools = Shows(RenderAsIs(with_tools, {Message("user", "u")}), kToolName);

  const json::object arguments{{"qzxkey", "qzxvalue"}};
  const auto as_object = render(ToolTurn("", arguments));
  const auto as_text = render(ToolTurn("", kArgumentsText));
  const bool text_is_shown = Shows(as_text, kArgumentsText);  // and not as a string within JSON
  caps_.supports_tool_calls = Shows(as_object, kToolName) || Shows(as_text, kToolName);
  caps_.accepts_object_arguments = Shows(as_object, "qzxvalue");
  caps_.needs_object_arguments = caps_.accepts_object_arguments && !text_is_shown;

  const json::value usable =
      caps_.needs_object_arguments ? json::value(arguments) : json::value(kArgumentsText);
  const auto null_content = render(ToolTurn(nullptr, usable));
  const auto empty_content = render(ToolTurn("", usable));
  caps_.requires_non_null_content =
      !null_content.ok() || (empty_content.ok() && CountNone(*null_content) > CountNone(*empty_content));
}

}  // namespace prefixd
