#include "daemon/api/conversation.h"

#include <boost/json/object.hpp>
#include <utility>

#include "base/check.h"
#include "daemon/api/prompt_marks.h"

namespace prefixd {

namespace json = boost::json;

json::object TextPart(std::string_view text) { return {{"type", "text"}, {"text", text}}; }

json::object TextPart(std::string_view text, const json::object& source) {
  json::object part = TextPart(text);
  CopyMark(source, &part);
  return part;
}

const json::string* TextOf(const json::object& object, std::string_view name) {
  const json::value* member = object.if_contains(name);
  return member == nullptr ? nullptr : member->if_string();
}

json::value ContentOf(json::array parts) {
  const size_t plain = TextPart("").size();
  if (parts.size() == 1 && parts[0].get_object().size() == plain)
    return std::move(parts[0].get_object()["text"]);
  if (parts.empty()) return "";
  return parts;
}

void Conversation::Turn(std::string_view role, bool join) {
  if (join && role_ == role) return;
  End();
  for (const std::string_view known : {"system", "developer", "user", "assistant"})
    if (role == known) role_ = known;
  PREFIXD_CHECK(!role_.empty()) << role;
}

void Conversation::Text(std::string_view text) { parts_.push_back(TextPart(text)); }

void Conversation::Part(json::object part) { parts_.push_back(std::move(part)); }

void Conversation::Reasoning(std::string_view text) { reasoning_.append(text); }

void Conversation::Call(std::string_view id, std::string_view name, json::value arguments) {
  calls_.push_back({{"id", id},
                    {"type", "function"},
                    {"function", {{"name", name}, {"arguments", std::move(arguments)}}}});
}

void Conversation::Result(std::string_view id, json::value content) {
  End();
  messages_.push_back({{"role", "tool"}, {"tool_call_id", id}, {"content", std::move(content)}});
}

void Conversation::End() {
  if (role_.empty()) return;
  json::object message = {{"role", role_}};
  const bool calls_alone = parts_.empty() && !calls_.empty();
  message["content"] = calls_alone ? json::value(nullptr) : ContentOf(std::exchange(parts_, {}));
  if (!reasoning_.empty()) message["reasoning_content"] = std::exchange(reasoning_, {});
  if (!calls_.empty()) message["tool_calls"] = std::exchange(calls_, {});
  messages_.push_back(std::move(message));
  role_ = {};
}

json::array Conversation::Take() {
  End();
  return std::exchange(messages_, {});
}

}  // namespace prefixd
