#include "daemon/api/anthropic/message_blocks.h"

#include <boost/json.hpp>
#include <utility>

#include "daemon/api/cache_request.h"
#include "daemon/api/conversation.h"
#include "daemon/api/prompt_marks.h"
#include "text/jinja/template.h"

namespace prefixd {

namespace {

namespace json = boost::json;

using Problem = std::optional<ApiError>;

// The header that a client puts in front of its system prompt for its own accounting.
constexpr std::string_view kBuildHeader = "x-anthropic-billing-header:";

std::string At(std::string_view place, size_t index) {
  return std::string(place) + "." + std::to_string(index);
}

ApiError Wrong(std::string place, std::string_view what, std::string code = "invalid_type") {
  std::string message = place + ": " + std::string(what);
  return BadParameter(std::move(place), std::move(message), std::move(code));
}

// Reads the member `name` of a block, which must be a string.
Problem ReadText(const json::object& block, std::string_view name, const std::string& place,
                 const json::string** text) {
  *text = TextOf(block, name);
  if (*text != nullptr) return std::nullopt;
  return Wrong(place + "." + std::string(name), "a string is required.", "missing_required_parameter");
}

// A document whose source is text.
Problem ReadDocument(const json::object& block, const std::string& place, const json::string** text) {
  const json::value* source = block.if_contains("source");
  const json::object* object = source == nullptr ? nullptr : source->if_object();
  const json::string* type = object == nullptr ? nullptr : TextOf(*object, "type");
  if (type != nullptr && *type == "text") return ReadText(*object, "data", place + ".source", text);
  return Wrong(place, "only documents with a source of type 'text' are supported by this model.",
               "unsupported_content_type");
}

struct Block {
  const json::object* object = nullptr;
  std::string_view type;
};

Problem ReadBlock(const json::value& value, const std::string& place, Block* block) {
  block->object = value.if_object();
  if (block->object == nullptr) return Wrong(place, "a content block must be an object.");
  const json::string* type = nullptr;
  if (auto error = ReadText(*block->object, "type", place, &type)) return error;
  block->type = *type;
  return std::nullopt;
}

// A block that is text, where nothing else may stand.
Problem ReadTextBlock(const json::value& value, const std::string& place, const json::string** text) {
  Block block;
  if (auto error = ReadBlock(value, place, &block)) return error;
  if (block.type == "text") return ReadText(*block.object, "text", place, text);
  if (block.type == "document") return ReadDocument(*block.object, place, text);
  return Wrong(place,
               "content blocks of type '" + std::string(block.type.substr(0, 40)) +
                   "' are not supported here; only text is.",
               "unsupported_content_type");
}

// Content that is a string or a list of text blocks, as parts.
Problem ReadTexts(const json::value& content, const std::string& place, json::array* parts) {
  if (content.is_string()) {
    parts->push_back(TextPart(content.get_string()));
    return std::nullopt;
  }
  if (!content.is_array()) return Wrong(place, "a string or an array of content blocks is required.");
  for (size_t i = 0; i < content.get_array().size(); ++i) {
    const json::string* text = nullptr;
    if (auto error = ReadTextBlock(content.get_array()[i], At(place, i), &text)) return error;
    parts->push_back(TextPart(*text, content.get_array()[i].get_object()));
  }
  return std::nullopt;
}

Problem AddResult(const json::object& block, const std::string& place, Conversation* conversation) {
  const json::string* id = nullptr;
  if (auto error = ReadText(block, "tool_use_id", place, &id)) return error;
  json::array parts;
  const json::value* content = block.if_contains("content");
  if (content != nullptr && !content->is_null()) {
    if (auto error = ReadTexts(*content, place + ".content", &parts)) return error;
  }
  const json::value* failed = block.if_contains("is_error");
  if (failed != nullptr && *failed == true) {  // no template shows this flag
    if (parts.empty()) parts.push_back(TextPart(""));
    json::string& first = parts[0].get_object()["text"].get_string();
    first.insert(0, "Error: ");
  }
  if (!parts.empty()) CopyMark(block, &parts.back().get_object());
  conversation->Result(*id, ContentOf(std::move(parts)));
  return std::nullopt;
}

Problem AddUserBlock(const json::value& value, const std::string& place, Conversation* conversation) {
  Block block;
  if (auto error = ReadBlock(value, place, &block)) return error;
  if (block.type == "tool_result") return AddResult(*block.object, place, conversation);
  const json::string* text = nullptr;
  if (auto error = ReadTextBlock(value, place, &text)) return error;
  conversation->Turn("user", /*join=*/true);
  conversation->Part(TextPart(*text, *block.object));
  return std::nullopt;
}

Problem AddAssistantBlock(const json::value& value, const std::string& place, Conversation* conversation) {
  Block block;
  if (auto error = ReadBlock(value, place, &block)) return error;
  conversation->Turn("assistant", /*join=*/true);
  const json::string* text = nullptr;
  if (block.type == "thinking") {
    if (auto error = ReadText(*block.object, "thinking", place, &text)) return error;
    conversation->Reasoning(*text);
    return std::nullopt;
  }
  if (block.type == "redacted_thinking") return std::nullopt;  // only its author could read it
  if (block.type == "tool_use") {
    const json::string* id = nullptr;
    if (auto error = ReadText(*block.object, "id", place, &id)) return error;
    if (auto error = ReadText(*block.object, "name", place, &text)) return error;
    const json::value* input = block.object->if_contains("input");
    if (input == nullptr || !input->is_object()) return Wrong(place + ".input", "an object is required.");
    // With the spaces that models write: a template may show the text as it is.
    const Result<std::string> arguments = jinja::JsonText(*input);
    if (!arguments.ok()) return Wrong(place + ".input", arguments.status().message());
    conversation->Call(*id, *text, json::value(*arguments));
    return std::nullopt;
  }
  if (auto error = ReadTextBlock(value, place, &text)) return error;
  if (!text->empty()) conversation->Part(TextPart(*text, *block.object));
  return std::nullopt;
}

Problem AddMessage(const json::value& value, const std::string& place, Conversation* conversation) {
  if (!value.is_object()) return Wrong(place, "a message must be an object.");
  const json::object& message = value.get_object();
  const json::string* role = nullptr;
  if (auto error = ReadText(message, "role", place, &role)) return error;
  const bool assistant = *role == "assistant";
  if (!assistant && *role != "user" && *role != "system") {
    return Wrong(place + ".role", QuoteJson(json::value(*role)) + " is none of user, assistant and system.",
                 "invalid_value");
  }
  const json::value* content = message.if_contains("content");
  if (content == nullptr || (!content->is_string() && !content->is_array())) {
    return Wrong(place + ".content", "a string or an array of content blocks is required.",
                 content == nullptr ? "missing_required_parameter" : "invalid_type");
  }
  if (content->is_string()) {
    conversation->Turn(assistant ? "assistant" : "user", /*join=*/true);
    conversation->Text(content->get_string());
    return std::nullopt;
  }
  const json::array& blocks = content->get_array();
  if (blocks.empty()) conversation->Turn(assistant ? "assistant" : "user", /*join=*/true);
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string at = At(place + ".content", i);
    Problem error = assistant ? AddAssistantBlock(blocks[i], at, conversation)
                              : AddUserBlock(blocks[i], at, conversation);
    if (error) return error;
  }
  return std::nullopt;
}

Problem AddSystem(const json::value& system, Conversation* conversation) {
  json::array parts;
  if (auto error = ReadTexts(system, "system", &parts)) return error;
  for (json::value& part : parts) {
    if (std::string_view(part.at("text").get_string()).starts_with(kBuildHeader)) continue;
    conversation->Turn("system", /*join=*/true);
    conversation->Part(std::move(part.get_object()));
  }
  return std::nullopt;
}

// The markers of a request, in the order of the prompt.
class Markers {
 public:
  // `found` is the cache_control called `name`, or null.
  Problem Add(const json::value* found, const std::string& name) {
    if (found == nullptr || found->is_null()) return std::nullopt;
    const json::object* control = found->if_object();
    const json::string* type = control == nullptr ? nullptr : TextOf(*control, "type");
    if (type == nullptr || *type != "ephemeral") return Wrong(name, "{\"type\": \"ephemeral\"} is required.");
    const json::value* ttl = control->if_contains("ttl");
    const bool hour = ttl != nullptr && *ttl == "1h";
    if (ttl != nullptr && !ttl->is_null() && !hour && *ttl != "5m")
      return Wrong(name + ".ttl", "'5m' or '1h' is required.", "invalid_value");
    if (hour && minutes_ > 0)
      return Wrong(name + ".ttl", "a '1h' cache_control must come before those of '5m'.", "invalid_value");
    ++(hour ? hours_ : minutes_);
    constexpr int kMost = 4;
    if (hours_ + minutes_ <= kMost) return std::nullopt;
    return Wrong(name, "at most 4 blocks may have cache_control.", "invalid_value");
  }

  Problem AddAll(const json::value* list, const std::string& place) {
    if (list == nullptr || !list->is_array()) return std::nullopt;
    for (size_t i = 0; i < list->get_array().size(); ++i) {
      const json::object* block = list->get_array()[i].if_object();
      if (block == nullptr) continue;
      if (auto error = CheckHolder(*block, At(place, i))) return error;
      if (auto error = AddAll(block->if_contains("content"), At(place, i) + ".content")) return error;
      const std::string name = At(place, i) + ".cache_control";
      if (auto error = Add(block->if_contains("cache_control"), name)) return error;
    }
    return std::nullopt;
  }

  int count() const { return hours_ + minutes_; }
  int hours() const { return hours_; }

 private:
  static Problem CheckHolder(const json::object& block, const std::string& place) {
    const json::value* control = block.if_contains("cache_control");
    if (control == nullptr || control->is_null()) return std::nullopt;
    const json::string* type = TextOf(block, "type");
    const json::string* text = TextOf(block, "text");
    const bool thinking = type != nullptr && (*type == "thinking" || *type == "redacted_thinking");
    if (!thinking && (text == nullptr || !text->empty())) return std::nullopt;
    return Wrong(place + ".cache_control", "thinking and empty text cannot have cache_control.",
                 "invalid_value");
  }

  int hours_ = 0, minutes_ = 0;
};

}  // namespace

Problem CheckCacheControl(RequestFields& fields, std::optional<double>* whole) {
  Markers markers;
  for (const char* name : {"tools", "system", "messages"})
    if (auto error = markers.AddAll(fields.Find(name), name)) return error;
  const int blocks = markers.count(), hours = markers.hours();
  if (auto error = markers.Add(fields.Find("cache_control"), "cache_control")) return error;
  if (markers.count() > blocks) *whole = markers.hours() > hours ? kHour : 5 * kMinute;
  return std::nullopt;
}

Parsed<MessageList> ReadMessageList(RequestFields& fields) {
  Conversation conversation;
  if (const json::value* system = fields.Find("system")) {
    if (auto error = AddSystem(*system, &conversation)) return *error;
  }
  const json::value* found = fields.Find("messages");
  if (found == nullptr || !found->is_array() || found->get_array().empty()) {
    return Wrong("messages", "an array of at least one message is required.",
                 found == nullptr ? "missing_required_parameter" : "invalid_type");
  }
  const json::array& messages = found->get_array();
  size_t first = 0;
  const json::object* front = messages[0].if_object();
  const json::string* role = front == nullptr ? nullptr : TextOf(*front, "role");
  if (role != nullptr && *role == "system" && front->contains("content")) {
    if (auto error = AddSystem(front->at("content"), &conversation)) return *error;
    first = 1;
  }
  for (size_t i = first; i < messages.size(); ++i) {
    if (auto error = AddMessage(messages[i], At("messages", i), &conversation)) return *error;
  }
  MessageList list;
  if (conversation.role() == "assistant") {
    const std::string last = At("messages", messages.size() - 1);
    if (conversation.has_calls())
      return Wrong(last, "the 'tool_use' of the last message has no 'tool_result' after it.",
                   "invalid_value");
    if (!conversation.has_text())
      return Wrong(last, "the last message is the assistant's and has no text to continue.", "invalid_value");
    list.continues = true;
  }
  list.messages = conversation.Take();
  if (list.messages.empty()) return Wrong("messages", "the messages are empty.", "invalid_value");
  return list;
}

}  // namespace prefixd
