#include "daemon/api/responses/responses_format.h"

#include <boost/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "base/utf8.h"
#include "daemon/api/answer_parts.h"
#include "daemon/api/explain/explanation.h"
#include "daemon/api/response_json.h"
#include "daemon/api/responses/stored_items.h"

namespace prefixd {

namespace {

namespace json = boost::json;
using Kind = AnswerPart::Kind;
using Step = AnswerParts::Step;

constexpr std::string_view kInProgress = "in_progress", kCompleted = "completed", kIncomplete = "incomplete";

json::object UsageOf(const TokenUsage& usage) {
  return {{"input_tokens", usage.prompt_tokens},
          {"input_tokens_details", CacheDetailsJson(usage)},
          {"output_tokens", usage.completion_tokens},
          {"output_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

json::object ErrorJson(const ApiError& error) {
  const auto text = [](const std::string& value) {
    return value.empty() ? json::value() : json::value(value);
  };
  return {{"type", error.type},
          {"code", text(error.code)},
          {"message", RepairUtf8(error.message)},
          {"param", text(error.param)}};
}

// In the form of the event, and in that of other streams beside: clients know one or the other.
json::object FlatError(const ApiError& error) {
  json::object flat = ErrorJson(error);
  flat.emplace("error", ErrorJson(error));
  flat["type"] = "error";
  return flat;
}

std::string_view TypeOf(Kind kind) {
  return kind == Kind::kText ? "message" : kind == Kind::kCall ? "function_call" : "reasoning";
}

class ResponsesFormat final : public ResponseFormat {
 public:
  ResponsesFormat(ResponsesFormatOptions options, const GenerationRequest& request,
                  const Tokenizer& tokenizer)
      : options_(std::move(options)),
        names_(tokenizer, request.tokens_as_ids, request.skip_special_tokens),
        logprobs_(request.sampling.logprobs >= 0) {}

  // Requests cannot ask for them.
  void AddPromptLogprobs(size_t, std::vector<GeneratedToken>) override {}

  std::string FullBody(const std::vector<ChoiceResult>& choices, const TokenUsage& usage) override {
    const auto& [piece, end] = choices.front();
    SetEnd(end);
    AddLogprobs(piece.tokens);
    const std::vector<AnswerPart> parts = AnswerParts::Of(piece);
    for (size_t i = 0; i < parts.size(); ++i)
      FinishItem(i, parts[i], i + 1 == parts.size() ? status_ : kCompleted);
    return Finished(usage);
  }

  std::string Opening(const TokenUsage&) override {
    const std::string response = Response(kInProgress, nullptr);
    std::string events = Event("response.created", {}, "response", response);
    return events += Event("response.in_progress", {}, "response", response);
  }

  std::string Chunk(int, const TextPiece& piece, bool, const ChoiceFinish* end, const TokenUsage&) override {
    const std::vector<Step> steps = parts_.Add(piece);
    const bool in_text = !parts_.parts().empty() && parts_.parts().back().kind == Kind::kText;
    const std::string entries = in_text ? AddLogprobs(piece.tokens) : "";
    std::string events;
    for (const Step& step : steps) events += EventsOf(step, entries);
    if (end == nullptr) return events;
    SetEnd(*end);
    for (const Step& step : parts_.Finish()) events += EventsOf(step, "");
    return events;
  }

  std::string Ending(const TokenUsage& usage) override {
    const std::string type = "response." + std::string(status_);
    return Event(type, {}, "response", Finished(usage));
  }

  std::string Failure(const ApiError& error, const ErrorStyle&, std::string_view) override {
    std::string events = Event("error", FlatError(error));
    json::object response = Head("failed");
    response.emplace("error", json::object{{"code", "server_error"}, {"message", RepairUtf8(error.message)}});
    for (const char* name : {"tools", "output"}) response.emplace(name, json::array());
    return events + Event("response.failed", {{"response", std::move(response)}});
  }

  size_t held_bytes() const override {
    return parts_.held_bytes() + output_.capacity() + part_logprobs_.capacity();
  }

 private:
  void SetEnd(const ChoiceFinish& end) {
    status_ = end.finish_reason == "length" && options_.generates ? kIncomplete : kCompleted;
  }

  // Appends the log probabilities to those of the open part. Returns the new ones.
  std::string AddLogprobs(const std::vector<TextToken>& tokens) {
    std::string entries;
    if (logprobs_) AppendLogprobEntries(tokens, names_, &entries);
    if (!part_logprobs_.empty() && !entries.empty()) part_logprobs_.push_back(',');
    part_logprobs_ += entries;
    return entries;
  }

  // An event with its number. `name` and `raw`: a last member whose value is JSON text already.
  std::string Event(std::string_view type, json::object members, std::string_view name = "",
                    std::string_view raw = "") {
    std::string text;
    ObjectText event(&text);
    if (!members.contains("type")) event.Member("type", json::string(type));
    event.Member("sequence_number", number_++);
    event.Members(members);
    if (!name.empty()) {
      event.Key(name);
      text += raw;
    }
    event.End();
    return SseEvent(type, text);
  }

  std::string IdOf(size_t index, const AnswerPart& part) const {
    return ItemId(TypeOf(part.kind), options_.suffix, std::to_string(index));
  }

  // The part of a text or of reasoning, with the entries of its log probabilities.
  static std::string PartText(const AnswerPart& part, std::string_view text, std::string_view logprobs) {
    std::string out;
    ObjectText object(&out);
    object.Members({{"type", part.kind == Kind::kText ? "output_text" : "reasoning_text"}, {"text", text}});
    if (part.kind == Kind::kText) {
      object.Member("annotations", json::array());
      object.Key("logprobs");
      out.append("[").append(logprobs).append("]");
    }
    object.End();
    return out;
  }

  std::string Item(size_t index, const AnswerPart& part, std::string_view status, bool whole) const {
    std::string out;
    ObjectText item(&out);
    item.Members({{"id", IdOf(index, part)}, {"type", TypeOf(part.kind)}, {"status", status}});
    if (part.kind == Kind::kCall) {
      item.Members({{"call_id", part.id}, {"name", part.name}, {"arguments", whole ? part.text : ""}});
    } else {
      if (part.kind == Kind::kText) item.Member("role", "assistant");
      if (part.kind == Kind::kReasoning) item.Member("summary", json::array());
      item.Key("content");
      out.push_back('[');
      if (whole) out += PartText(part, part.text, part_logprobs_);
      out.push_back(']');
    }
    item.End();
    return out;
  }

  // Adds an item to the output. Returns its text.
  std::string FinishItem(size_t index, const AnswerPart& part, std::string_view status) {
    std::string item = Item(index, part, status, /*whole=*/true);
    if (part.kind == Kind::kText) part_logprobs_.clear();
    if (!output_.empty()) output_.push_back(',');
    output_ += item;
    return item;
  }

  std::string EventsOf(const Step& step, std::string_view entries) {
    const AnswerPart& part = parts_.parts()[step.part];
    const json::object place = {{"item_id", IdOf(step.part, part)}, {"output_index", step.part}};
    if (step.kind == Step::Kind::kBegin) return BeginEvents(step.part, part, place);
    if (step.kind == Step::Kind::kEnd) return EndEvents(step.part, part, place);
    json::object delta = place;
    delta.emplace("delta", step.delta);
    if (part.kind == Kind::kCall) return Event("response.function_call_arguments.delta", std::move(delta));
    delta.emplace("content_index", 0);
    if (part.kind == Kind::kReasoning) return Event("response.reasoning_text.delta", std::move(delta));
    return Event("response.output_text.delta", std::move(delta), "logprobs",
                 "[" + std::string(entries) + "]");
  }

  std::string BeginEvents(size_t index, const AnswerPart& part, json::object place) {
    std::string events = Event("response.output_item.added", {{"output_index", index}}, "item",
                               Item(index, part, kInProgress, /*whole=*/false));
    if (part.kind == Kind::kCall) return events;
    place.emplace("content_index", 0);
    return events + Event("response.content_part.added", std::move(place), "part", PartText(part, "", ""));
  }

  std::string EndEvents(size_t index, const AnswerPart& part, const json::object& place) {
    std::string events;
    json::object done = place;
    if (part.kind == Kind::kCall) {
      done.emplace("name", part.name);
      done.emplace("arguments", part.text);
      events = Event("response.function_call_arguments.done", std::move(done));
    } else {
      done.emplace("content_index", 0);
      json::object whole = done;
      whole.emplace("text", part.text);
      events = part.kind == Kind::kReasoning ? Event("response.reasoning_text.done", std::move(whole))
                                             : Event("response.output_text.done", std::move(whole),
                                                     "logprobs", "[" + part_logprobs_ + "]");
      events += Event("response.content_part.done", std::move(done), "part",
                      PartText(part, part.text, part_logprobs_));
    }
    return events + Event("response.output_item.done", {{"output_index", index}}, "item",
                          FinishItem(index, part, status_));
  }

  json::object Head(std::string_view status) const {
    const bool ended = status == kCompleted;
    return {{"id", options_.metadata.id},
            {"object", "response"},
            {"created_at", options_.metadata.created},
            {"completed_at", ended ? json::value(options_.clock->UnixSeconds()) : json::value(nullptr)},
            {"status", status},
            {"model", options_.metadata.model}};
  }

  std::string Response(std::string_view status, const TokenUsage* usage) const {
    std::string out;
    ObjectText response(&out);
    response.Members(Head(status));
    response.Member("error", nullptr);
    response.Member("incomplete_details", status == kIncomplete
                                              ? json::value(json::object{{"reason", "max_output_tokens"}})
                                              : json::value(nullptr));
    response.Members(options_.shown);
    response.Key("output");
    out.append("[").append(output_).append("]");
    if (options_.compared != nullptr && usage != nullptr)
      response.Member("prompt_cache_diagnostics", OpenAiDiagnostics(*options_.compared));
    response.Member("usage", usage == nullptr ? json::value(nullptr) : json::value(UsageOf(*usage)));
    response.End();
    return out;
  }

  std::string Finished(const TokenUsage& usage) {
    std::string response = Response(status_, &usage);
    if (options_.store) options_.store({response, std::move(options_.input)});
    return response;
  }

  ResponsesFormatOptions options_;
  const TokenNames names_;
  const bool logprobs_;
  AnswerParts parts_;
  std::string output_;         // finished items, with commas between
  std::string part_logprobs_;  // of the open text
  std::string_view status_ = kCompleted;
  int64_t number_ = 0;
};

}  // namespace

std::string ResponsesErrorEvent(const ApiError& error) {
  return SseEvent("error", json::serialize(FlatError(error)));
}

std::unique_ptr<ResponseFormat> MakeResponsesFormat(ResponsesFormatOptions options,
                                                    const GenerationRequest& request,
                                                    const Tokenizer& tokenizer) {
  return std::make_unique<ResponsesFormat>(std::move(options), request, tokenizer);
}

}  // namespace prefixd
