#include "daemon/api/responses/input_items.h"

#include <boost/json.hpp>
#include <utility>

namespace prefixd {

namespace {

namespace json = boost::json;

using Problem = std::optional<ApiError>;

// The error about a member that must be a string.
ApiError NoText(const std::string& place, std::string_view name) {
  const std::string path = place + "." + std::string(name);
  return BadParameter(path, "'" + path + "' must be a string.", "missing_required_parameter");
}

// The text of a part. Null where the part is no text.
const json::string* TextOfPart(const json::value& part) {
  const json::object* object = part.if_object();
  const json::string* type = object == nullptr ? nullptr : TextOf(*object, "type");
  if (type == nullptr) return nullptr;
  if (*type == "refusal") return TextOf(*object, "refusal");
  const bool text = *type == "input_text" || *type == "output_text" || *type == "text" ||
                    *type == "reasoning_text" || *type == "summary_text";
  return text ? TextOf(*object, "text") : nullptr;
}

// Content that is a string or a list of texts, as parts.
Problem ReadTexts(const json::value* content, const std::string& place, json::array* parts) {
  if (content != nullptr && content->is_string()) {
    parts->push_back(TextPart(content->get_string()));
    return std::nullopt;
  }
  if (content == nullptr || !content->is_array())
    return BadParameter(place, "'" + place + "' must be a string or an array of parts.",
                        content == nullptr ? "missing_required_parameter" : "invalid_type");
  for (size_t i = 0; i < content->get_array().size(); ++i) {
    const json::string* text = TextOfPart(content->get_array()[i]);
    const std::string at = place + "[" + std::to_string(i) + "]";
    if (text == nullptr)
      return BadParameter(at, "'" + at + "' is not a text; other content is not supported by this model.",
                          "unsupported_content_type");
    parts->push_back(TextPart(*text, content->get_array()[i].get_object()));
  }
  return std::nullopt;
}

Problem AddMessage(const json::object& item, const std::string& place, Conversation* conversation) {
  const json::string* role = TextOf(item, "role");
  if (role == nullptr) return NoText(place, "role");
  json::array parts;
  if (auto error = ReadTexts(item.if_contains("content"), place + ".content", &parts)) return error;
  for (const std::string_view known : {"system", "developer", "user", "assistant"}) {
    if (*role != known) continue;
    // The reasoning of an answer is an item before its text.
    const bool join = known == "assistant" && conversation->has_reasoning_alone();
    conversation->Turn(known, join);
    for (json::value& part : parts) conversation->Part(std::move(part.get_object()));
    return std::nullopt;
  }
  return BadParameter(place + ".role",
                      "'" + place + ".role' must be system, developer, user or assistant, not " +
                          QuoteJson(json::value(*role)) + ".",
                      "invalid_value");
}

Problem AddCall(const json::object& item, const std::string& place, Conversation* conversation) {
  for (const char* name : {"call_id", "name", "arguments"})
    if (TextOf(item, name) == nullptr) return NoText(place, name);
  conversation->Turn("assistant", /*join=*/true);
  conversation->Call(*TextOf(item, "call_id"), *TextOf(item, "name"), item.at("arguments"));
  return std::nullopt;
}

Problem AddOutput(const json::object& item, const std::string& place, Conversation* conversation) {
  const json::string* id = TextOf(item, "call_id");
  if (id == nullptr) return NoText(place, "call_id");
  json::array parts;
  if (auto error = ReadTexts(item.if_contains("output"), place + ".output", &parts)) return error;
  conversation->Result(*id, ContentOf(std::move(parts)));
  return std::nullopt;
}

// Its content, or else its summary. What only its author can read is left out.
Problem AddReasoning(const json::object& item, const std::string& place, Conversation* conversation) {
  for (const char* name : {"content", "summary"}) {
    const json::value* texts = item.if_contains(name);
    if (texts == nullptr || texts->is_null()) continue;
    json::array parts;
    if (auto error = ReadTexts(texts, place + "." + name, &parts)) return error;
    if (parts.empty()) continue;
    conversation->Turn("assistant", conversation->has_reasoning_alone());
    for (const json::value& part : parts) conversation->Reasoning(part.at("text").get_string());
    return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

Problem AddInputItem(const json::value& item, const std::string& place, Conversation* conversation) {
  const json::object* object = item.if_object();
  const json::string* type = object == nullptr ? nullptr : TextOf(*object, "type");
  if (type == nullptr)
    return BadParameter(place, "'" + place + "' must be an item with a type.", "invalid_type");
  if (*type == "message") return AddMessage(*object, place, conversation);
  if (*type == "function_call") return AddCall(*object, place, conversation);
  if (*type == "function_call_output") return AddOutput(*object, place, conversation);
  if (*type == "reasoning") return AddReasoning(*object, place, conversation);
  return BadParameter(place,
                      "Items of type " + QuoteJson(json::value(*type)) + " are not supported by this server.",
                      "invalid_value");
}

Parsed<json::array> ItemsOf(const json::value* input) {
  json::array items;
  if (input == nullptr || input->is_null()) return items;
  if (input->is_string()) {
    json::array content = {json::object{{"type", "input_text"}, {"text", input->get_string()}}};
    items.push_back({{"type", "message"}, {"role", "user"}, {"content", std::move(content)}});
    return items;
  }
  if (!input->is_array())
    return BadParameter("input",
                        "'input' must be a string or an array of items, not " + QuoteJson(*input) + ".",
                        "invalid_type");
  for (const json::value& found : input->get_array()) {
    json::value item = found;
    json::object* object = item.if_object();
    if (object != nullptr && object->contains("role") && !object->contains("type"))
      object->emplace("type", "message");
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace prefixd
