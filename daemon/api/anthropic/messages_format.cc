#include "daemon/api/anthropic/messages_format.h"

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/json_fields.h"
#include "daemon/api/answer_parts.h"
#include "daemon/api/explain/explanation.h"
#include "daemon/api/request_fields.h"
#include "daemon/api/response_json.h"

namespace prefixd {

namespace {

namespace json = boost::json;
using Kind = AnswerPart::Kind;
using Step = AnswerParts::Step;

std::string Event(std::string_view type, json::object members) {
  json::object event = {{"type", type}};
  for (auto& [name, value] : members) event.emplace(name, std::move(value));
  return SseEvent(type, json::serialize(event));
}

// Whether the arguments of a call are whole. Those that the end of the answer has cut are not.
bool IsObject(const std::string& text) {
  return ParseJsonObject("", text, {.max_depth = kMaxJsonDepth, .twice = JsonParseOptions::Twice::kLast})
      .ok();
}

class MessagesFormat final : public ResponseFormat {
 public:
  explicit MessagesFormat(MessagesFormatOptions options) : options_(std::move(options)) {}

  // Requests cannot ask for them.
  void AddPromptLogprobs(size_t, std::vector<GeneratedToken>) override {}

  std::string FullBody(const std::vector<ChoiceResult>& choices, const TokenUsage& usage) override {
    const auto& [piece, end] = choices.front();
    SetEnd(end);
    std::string text;
    ObjectText body(&text);
    body.Members(Head());
    body.Key("content");
    text.push_back('[');
    for (const AnswerPart& part : AnswerParts::Of(piece)) {
      if (text.back() != '[') text.push_back(',');
      AppendBlock(part, &text);
    }
    text.push_back(']');
    body.Members(EndJson());
    body.Member("usage", MessagesUsageJson(usage));
    body.End();
    return text;
  }

  std::string Opening(const TokenUsage& usage) override {
    opened_ = true;
    json::object message = Head();
    message.emplace("content", json::array());
    for (const char* name : {"stop_reason", "stop_sequence", "stop_details", "container"})
      message.emplace(name, nullptr);
    message.emplace("usage", MessagesUsageJson(usage));
    return Event("message_start", {{"message", std::move(message)}});
  }

  std::string Chunk(int, const TextPiece& piece, bool, const ChoiceFinish* end, const TokenUsage&) override {
    std::string events = EventsOf(parts_.Add(piece));
    if (end == nullptr) return events;
    SetEnd(*end);
    return events + EventsOf(parts_.Finish());
  }

  std::string Ending(const TokenUsage& usage) override {
    return Event("message_delta", {{"delta", EndJson()}, {"usage", MessagesUsageJson(usage)}}) +
           Event("message_stop", {});
  }

  std::string_view Ping() const override {
    return opened_ ? "event: ping\ndata: {\"type\": \"ping\"}\n\n" : kSsePing;
  }

  size_t held_bytes() const override { return parts_.held_bytes(); }

 private:
  json::object Head() const {
    json::object head = {{"id", options_.metadata.id},
                         {"type", "message"},
                         {"role", "assistant"},
                         {"model", options_.metadata.model},
                         {"diagnostics", nullptr}};
    if (options_.compared != nullptr)
      head["diagnostics"] = json::object{{"cache_miss_reason", AnthropicMissReason(*options_.compared)}};
    return head;
  }

  void SetEnd(const ChoiceFinish& end) {
    if (end.stop_string != nullptr) stop_sequence_ = *end.stop_string;
    stop_reason_ = end.finish_reason == "tool_calls" ? "tool_use"
                   : end.finish_reason == "stop"     ? (stop_sequence_ ? "stop_sequence" : "end_turn")
                   : options_.cut                    ? "model_context_window_exceeded"
                                                     : "max_tokens";
  }

  json::object EndJson() const {
    return {{"stop_reason", stop_reason_},
            {"stop_sequence", stop_sequence_ ? json::value(*stop_sequence_) : json::value(nullptr)},
            {"stop_details", nullptr},
            {"container", nullptr}};
  }

  static json::object EmptyBlock(const AnswerPart& part) {
    if (part.kind == Kind::kText) return {{"type", "text"}, {"text", ""}, {"citations", nullptr}};
    if (part.kind == Kind::kReasoning) return {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}};
    return {{"type", "tool_use"}, {"id", part.id}, {"name", part.name}, {"input", json::object()}};
  }

  static void AppendBlock(const AnswerPart& part, std::string* out) {
    json::object block = EmptyBlock(part);
    if (part.kind == Kind::kText) block["text"] = part.text;
    if (part.kind == Kind::kReasoning) block["thinking"] = part.text;
    ObjectText object(out);
    if (part.kind == Kind::kCall) block.erase("input");
    object.Members(block);
    if (part.kind == Kind::kCall) {
      object.Key("input");
      out->append(IsObject(part.text) ? part.text : "{}");  // as the model wrote it
    }
    object.End();
  }

  std::string EventsOf(const std::vector<Step>& steps) const {
    std::string events;
    for (const Step& step : steps) {
      if (step.kind == Step::Kind::kBegin) {
        events += Event("content_block_start",
                        {{"index", step.part}, {"content_block", EmptyBlock(parts_.parts()[step.part])}});
      } else if (step.kind == Step::Kind::kDelta) {
        events += Event("content_block_delta", {{"index", step.part}, {"delta", DeltaJson(step)}});
      } else {
        events += Event("content_block_stop", {{"index", step.part}});
      }
    }
    return events;
  }

  json::object DeltaJson(const Step& step) const {
    switch (parts_.parts()[step.part].kind) {
      case Kind::kText:
        return {{"type", "text_delta"}, {"text", step.delta}};
      case Kind::kReasoning:
        return {{"type", "thinking_delta"}, {"thinking", step.delta}};
      case Kind::kCall:
        break;
    }
    return {{"type", "input_json_delta"}, {"partial_json", step.delta}};
  }

  const MessagesFormatOptions options_;
  AnswerParts parts_{/*keeps=*/false};
  bool opened_ = false;
  std::string_view stop_reason_;
  std::optional<std::string> stop_sequence_;
};

}  // namespace

json::object MessagesUsageJson(const TokenUsage& usage) {
  const int written = usage.cache_write_tokens;
  const int hour = usage.written_for[0];
  json::object members = {
      {"input_tokens", usage.prompt_tokens - usage.cached_tokens - written},
      {"cache_creation_input_tokens", written},
      {"cache_read_input_tokens", usage.cached_tokens},
      {"cache_creation",
       {{"ephemeral_5m_input_tokens", written - hour}, {"ephemeral_1h_input_tokens", hour}}},
      {"output_tokens", usage.completion_tokens},
      {"output_tokens_details", {{"thinking_tokens", usage.reasoning_tokens}}},
      {"server_tool_use", nullptr},
      {"service_tier", "standard"}};
  if (usage.asked_kept_tokens > 0) members["cache_retained_input_tokens"] = usage.kept_tokens;
  return members;
}

std::unique_ptr<ResponseFormat> MakeMessagesFormat(MessagesFormatOptions options) {
  return std::make_unique<MessagesFormat>(std::move(options));
}

}  // namespace prefixd
