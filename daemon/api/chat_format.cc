#include <algorithm>
#include <boost/json.hpp>
#include <iterator>
#include <utility>

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
        token_ids_(request.return_token_ids) {}

  void AddPromptLogprobs(size_t, std::vector<GeneratedToken> logprobs) override {
    std::move(logprobs.begin(), logprobs.end(), std::back_inserter(prompt_logprobs_));
  }

  std::string FullBody(const std::vector<ChoiceResult>& choices, const TokenUsage& usage) const override {
    json::array list;
    for (size_t i = 0; i < choices.size(); ++i) {
      const auto& [piece, end] = choices[i];
      json::object choice = {
          {"index", i},
          {"message", {{"role", "assistant"}, {"content", echo_ + piece.text}, {"refusal", nullptr}}},
          {"logprobs", Logprobs(piece.tokens)},
          {"finish_reason", std::string(end.finish_reason)},
          {"stop_reason", StopReasonJson(end)}};
      if (token_ids_) choice.emplace("token_ids", TokenIdsJson(piece.tokens));
      list.push_back(std::move(choice));
    }
    json::object body = Head("chat.completion");
    body.emplace("choices", std::move(list));
    body.emplace("usage", UsageJson(usage));
    body.emplace("service_tier", "default");
    if (token_ids_) body.emplace("prompt_token_ids", IdsJson(prompt_));
    if (prompt_top_ >= 0)
      body.emplace("prompt_logprobs", PromptLogprobsJson(prompt_logprobs_, prompt_top_, tokenizer_));
    return json::serialize(body);
  }

  // The role, once for every choice. Clients join the chunks of a choice, and expect choice 0 first.
  std::vector<std::string> OpeningChunks() const override {
    std::vector<std::string> chunks;
    for (int i = 0; i < choices_; ++i) {
      json::object body = Chunk(i, {{"role", "assistant"}, {"content", echo_}}, nullptr, nullptr, nullptr);
      if (token_ids_ && i == 0) body.emplace("prompt_token_ids", IdsJson(prompt_));
      chunks.push_back(json::serialize(body));
    }
    return chunks;
  }

  std::string Chunk(int choice, const TextPiece& piece, bool, const ChoiceFinish* end,
                    const TokenUsage* usage) const override {
    json::object delta;
    if (!piece.text.empty()) delta.emplace("content", piece.text);
    return json::serialize(Chunk(choice, std::move(delta), &piece, end, usage));
  }

  std::string UsageChunk(const TokenUsage& usage) const override {
    json::object body = Head("chat.completion.chunk");
    body.emplace("choices", json::array());
    body.emplace("usage", UsageJson(usage));
    return json::serialize(body);
  }

 private:
  json::object Head(std::string_view object) const {
    return {{"id", metadata_.id},
            {"object", std::string(object)},
            {"created", metadata_.created},
            {"model", metadata_.model},
            {"system_fingerprint", metadata_.fingerprint}};
  }

  json::object Chunk(int index, json::object delta, const TextPiece* piece, const ChoiceFinish* end,
                     const TokenUsage* usage) const {
    json::object choice = {{"index", index},
                           {"delta", std::move(delta)},
                           {"logprobs", piece == nullptr || piece->tokens.empty() ? json::value(nullptr)
                                                                                  : Logprobs(piece->tokens)},
                           {"finish_reason", end == nullptr ? json::value(nullptr)
                                                            : json::value(std::string(end->finish_reason))}};
    if (end != nullptr) choice.emplace("stop_reason", StopReasonJson(*end));
    if (token_ids_ && piece != nullptr) choice.emplace("token_ids", TokenIdsJson(piece->tokens));
    json::object body = Head("chat.completion.chunk");
    body.emplace("choices", json::array{std::move(choice)});
    if (include_usage_)
      body.emplace("usage", usage == nullptr ? json::value(nullptr) : json::value(UsageJson(*usage)));
    return body;
  }

  json::object Entry(TokenId id, float logprob) const {
    return {{"token", names_.Text(id)}, {"logprob", LogprobJson(logprob)}, {"bytes", names_.Bytes(id)}};
  }

  json::value Logprobs(const std::vector<TextToken>& tokens) const {
    if (!logprobs_) return nullptr;
    json::array content;
    for (const TextToken& entry : tokens) {
      json::object object = Entry(entry.token.token, entry.token.logprob);
      json::array top;
      for (const TokenLogprob& other : entry.token.top) top.push_back(Entry(other.token, other.logprob));
      object.emplace("top_logprobs", std::move(top));
      content.push_back(std::move(object));
    }
    return json::object{{"content", std::move(content)}, {"refusal", nullptr}};
  }

  const ResponseMetadata metadata_;
  const Tokenizer& tokenizer_;
  const TokenNames names_;
  const std::vector<TokenId> prompt_;
  const std::string echo_;
  const int choices_, prompt_top_;
  const bool logprobs_, include_usage_, token_ids_;
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
