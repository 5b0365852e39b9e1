#include <algorithm>
#include <boost/json.hpp>
#include <iterator>
#include <utility>

#include "daemon/api/long_bodies.h"
#include "daemon/api/response_format.h"
#include "daemon/api/response_json.h"

namespace prefixd {

namespace {

namespace json = boost::json;

class ChatFormat final : public ResponseFormat {
 public:
  ChatFormat(ResponseMetadata metadata, const GenerationRequest& request, const Tokenizer& tokenizer,
             std::vector<TokenId> prompt, std::string echo)
      : metadata_(std::move(metadata)),
        tokenizer_(tokenizer),
        names_(tokenizer, request.tokens_as_ids, request.skip_special_tokens),
        prompt_(std::move(prompt)),
        echo_(std::move(echo)),
        choices_(request.n),
        prompt_top_(request.prompt_logprobs),
        logprobs_(request.sampling.logprobs >= 0),
        include_usage_(request.include_usage),
        continuous_usage_(request.continuous_usage),
        token_ids_(request.return_token_ids),
        function_call_(request.function_call),
        chunk_head_(ChunkHead(Head("chat.completion.chunk"))) {}

  void AddPromptLogprobs(size_t, std::vector<GeneratedToken> logprobs) override {
    std::move(logprobs.begin(), logprobs.end(), std::back_inserter(prompt_logprobs_));
  }

  std::string FullBody(const std::vector<ChoiceResult>& choices, const TokenUsage& usage) override {
    std::string text;
    size_t bytes = 0;
    for (const ChoiceResult& choice : choices) bytes += LogprobsBytes(choice.piece);
    text.reserve(bytes);  // once: every call may double what there is
    ObjectText body(&text);
    body.Members(Head("chat.completion"));
    body.Key("choices");
    for (size_t i = 0; i < choices.size(); ++i) {
      text.push_back(i == 0 ? '[' : ',');
      AppendChoice(i, choices[i], &text);
    }
    text.append(choices.empty() ? "[]" : "]");
    body.Member("usage", UsageJson(usage));
    body.Member("service_tier", "default");
    if (token_ids_) body.Member("prompt_token_ids", IdsJson(prompt_));
    if (prompt_top_ >= 0)
      body.Member("prompt_logprobs", PromptLogprobsJson(prompt_logprobs_, prompt_top_, tokenizer_));
    body.End();
    return text;
  }

  // The role, once for every choice. Clients join the chunks of a choice, and expect choice 0 first.
  std::string Opening(const TokenUsage& usage) override {
    std::string events;
    for (int i = 0; i < choices_; ++i) events += ChunkEvent(i, nullptr, nullptr, usage);
    return events;
  }

  std::string Chunk(int choice, const TextPiece& piece, bool, const ChoiceFinish* end,
                    const TokenUsage& usage) override {
    return ChunkEvent(choice, &piece, end, usage);
  }

  std::string Ending(const TokenUsage& usage) override {
    if (!include_usage_) return std::string(kSseDone);
    json::object body = Head("chat.completion.chunk");
    body.emplace("choices", json::array());
    body.emplace("usage", UsageJson(usage));
    return SseEvent(json::serialize(body)).append(kSseDone);
  }

 private:
  json::object Head(std::string_view object) const {
    return {{"id", metadata_.id},
            {"object", std::string(object)},
            {"created", metadata_.created},
            {"model", metadata_.model},
            {"system_fingerprint", metadata_.fingerprint}};
  }

  // `piece` is null for an opening chunk. The first of those has the ids of the prompt.
  std::string ChunkEvent(int index, const TextPiece* piece, const ChoiceFinish* end,
                         const TokenUsage& usage) const {
    std::string text;
    text.reserve(chunk_head_.size() + kShortChunkBytes + (piece == nullptr ? 0 : LogprobsBytes(*piece)));
    ObjectText body(chunk_head_, &text);
    ObjectText choice(&text);
    choice.Key("index");
    text.append(std::to_string(index));
    choice.Key("delta");
    AppendDelta(piece, &text);
    choice.Key("logprobs");
    AppendLogprobs(piece == nullptr || piece->tokens.empty() ? nullptr : &piece->tokens, &text);
    AppendFinish(end, &choice, &text);
    if (token_ids_ && piece != nullptr) choice.Member("token_ids", TokenIdsJson(piece->tokens));
    choice.End();
    text.push_back(']');
    if (include_usage_ || continuous_usage_)
      body.Member("usage", continuous_usage_ ? json::value(UsageJson(usage)) : json::value(nullptr));
    if (token_ids_ && piece == nullptr && index == 0) body.Member("prompt_token_ids", IdsJson(prompt_));
    body.End();
    return text.append(kSseEnd);
  }

  void AppendChoice(size_t index, const ChoiceResult& result, std::string* out) const {
    const auto& [piece, end] = result;
    ObjectText choice(out);
    choice.Members({{"index", index}, {"message", Message(piece)}});
    choice.Key("logprobs");
    AppendLogprobs(&piece.tokens, out);
    AppendFinish(&end, &choice, out);
    if (token_ids_) choice.Member("token_ids", TokenIdsJson(piece.tokens));
    choice.End();
  }

  // A delta of a stream: a piece has a text or one event. That of an opening chunk has the role.
  void AppendDelta(const TextPiece* piece, std::string* out) const {
    ObjectText delta(out);
    if (piece == nullptr) {
      delta.Text("role", "assistant");
      delta.Text("content", echo_);
    } else {
      if (!piece->text.empty()) delta.Text("content", piece->text);
      for (const OutputEvent& event : piece->events) AddDelta(event, &delta);
    }
    delta.End();
  }

  void AddDelta(const OutputEvent& event, ObjectText* delta) const {
    using Kind = OutputEvent::Kind;
    if (event.kind == Kind::kContent) delta->Text("content", event.text);
    if (event.kind == Kind::kReasoning) delta->Text("reasoning_content", event.text);
    if (event.kind != Kind::kCall && event.kind != Kind::kArguments) return;
    json::object function = {{"arguments", event.kind == Kind::kArguments ? event.text : ""}};
    if (event.kind == Kind::kCall) function.emplace("name", event.text);
    if (function_call_) {
      delta->Member("function_call", std::move(function));
      return;
    }
    json::object call = {{"index", event.call}};
    if (event.kind == Kind::kCall) {
      call.emplace("id", event.id);
      call.emplace("type", "function");
    }
    call.emplace("function", std::move(function));
    delta->Member("tool_calls", json::array{std::move(call)});
  }

  // The message of a whole answer. Without a text beside calls, the content is null.
  json::object Message(const TextPiece& piece) const {
    std::string content = echo_ + piece.text, reasoning;
    json::array calls;
    for (const OutputEvent& event : piece.events) {
      using Kind = OutputEvent::Kind;
      if (event.kind == Kind::kContent) content += event.text;
      if (event.kind == Kind::kReasoning) reasoning += event.text;
      if (event.kind == Kind::kCall) {
        calls.push_back({{"id", event.id},
                         {"type", "function"},
                         {"function", {{"name", event.text}, {"arguments", ""}}}});
      } else if (event.kind == Kind::kArguments) {
        json::object& function = calls.back().get_object()["function"].get_object();
        function["arguments"].get_string().append(event.text);
      }
    }
    json::object message = {{"role", "assistant"}, {"content", content}, {"refusal", nullptr}};
    if (!calls.empty() && content.empty()) message["content"] = nullptr;
    if (!reasoning.empty()) message.emplace("reasoning_content", reasoning);
    if (calls.empty()) return message;
    if (function_call_) {
      message.emplace("function_call", calls[0].get_object()["function"]);
    } else {
      message.emplace("tool_calls", std::move(calls));
    }
    return message;
  }

  size_t LogprobsBytes(const TextPiece& piece) const {
    size_t bytes = 0;
    for (const TextToken& entry : piece.tokens)
      bytes += logprobs_ ? LogprobTextBytes(tokenizer_, entry.token) : 0;
    return bytes;
  }

  void AppendLogprobs(const std::vector<TextToken>* tokens, std::string* out) const {
    if (!logprobs_ || tokens == nullptr) {
      out->append("null");
      return;
    }
    out->append("{\"content\":[");
    AppendLogprobEntries(*tokens, names_, out);
    out->append("],\"refusal\":null}");
  }

  const ResponseMetadata metadata_;
  const Tokenizer& tokenizer_;
  const TokenNames names_;
  const std::vector<TokenId> prompt_;
  const std::string echo_;
  const int choices_, prompt_top_;
  const bool logprobs_, include_usage_, continuous_usage_, token_ids_;
  const bool function_call_;  // a call has the older form
  const std::string chunk_head_;
  std::vector<GeneratedToken> prompt_logprobs_;
};

}  // namespace

std::unique_ptr<ResponseFormat> MakeChatFormat(ResponseMetadata metadata, const GenerationRequest& request,
                                               const Tokenizer& tokenizer, std::vector<TokenId> prompt,
                                               std::string echo) {
  return std::make_unique<ChatFormat>(std::move(metadata), request, tokenizer, std::move(prompt),
                                      std::move(echo));
}

}  // namespace prefixd
