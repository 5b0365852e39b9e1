#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "daemon/api/response_format.h"
#include "daemon/api/response_json.h"

namespace prefixd {

namespace {

namespace json = boost::json;

class CompletionFormat final : public ResponseFormat {
 public:
  CompletionFormat(Envelope envelope, const GenerationRequest& request, const Tokenizer& tokenizer,
                   std::vector<std::vector<TokenId>> prompts, std::vector<std::string> echoes)
      : envelope_(std::move(envelope)),
        names_(tokenizer, request.tokens_as_ids, request.skip_special_tokens),
        prompts_(std::move(prompts)),
        echoes_(std::move(echoes)),
        n_(request.n),
        logprobs_(request.sampling.logprobs >= 0),
        include_usage_(request.include_usage),
        token_ids_(request.return_token_ids) {}

  std::string Full(const std::vector<ChoiceAnswer>& choices, const UsageFigures& usage) const override {
    json::array list;
    for (size_t i = 0; i < choices.size(); ++i)
      list.push_back(Choice(static_cast<int>(i), choices[i].piece, true, &choices[i].end));
    json::object body = Head();
    body.emplace("choices", std::move(list));
    body.emplace("usage", UsageJson(usage));
    return json::serialize(body);
  }

  std::vector<std::string> Opening() const override { return {}; }

  std::string Chunk(int choice, const TextPiece& piece, bool first, const ChoiceEnd* end,
                    const UsageFigures* usage) const override {
    json::object body = Head();
    body.emplace("choices", json::array{Choice(choice, piece, first, end)});
    if (include_usage_)
      body.emplace("usage", usage == nullptr ? json::value(nullptr) : json::value(UsageJson(*usage)));
    return json::serialize(body);
  }

  std::string UsageChunk(const UsageFigures& usage) const override {
    json::object body = Head();
    body.emplace("choices", json::array());
    body.emplace("usage", UsageJson(usage));
    return json::serialize(body);
  }

 private:
  json::object Head() const {
    return {{"id", envelope_.id},
            {"object", "text_completion"},
            {"created", envelope_.created},
            {"model", envelope_.model},
            {"system_fingerprint", envelope_.fingerprint}};
  }

  json::object Choice(int index, const TextPiece& piece, bool first, const ChoiceEnd* end) const {
    const size_t prompt = static_cast<size_t>(index / n_);
    std::string text = first && !echoes_.empty() ? echoes_[prompt] + piece.text : piece.text;
    json::object choice = {{"index", index},
                           {"text", std::move(text)},
                           {"logprobs", Logprobs(piece.tokens)},
                           {"finish_reason", end == nullptr ? json::value(nullptr)
                                                            : json::value(std::string(end->finish_reason))}};
    if (end != nullptr) choice.emplace("stop_reason", StopReasonJson(*end));
    if (token_ids_) choice.emplace("token_ids", TokenIdsJson(piece.tokens));
    if (token_ids_ && first) choice.emplace("prompt_token_ids", IdsJson(prompts_[prompt]));
    return choice;
  }

  // Name to log probability: the likeliest ones, and the drawn one if it is not among them.
  json::object Top(const GeneratedToken& token) const {
    json::object top;
    bool drawn = false;
    const auto add = [&](TokenId id, float logprob) {
      // Two parts of code points may have the same text; then the second goes by its id.
      const std::string text = names_.Text(id);
      top.emplace(top.contains(text) ? TokenNames::ById(id) : text, LogprobJson(logprob));
    };
    for (const TokenLogprob& other : token.top) {
      drawn = drawn || other.token == token.token;
      add(other.token, other.logprob);
    }
    if (!drawn) add(token.token, token.logprob);
    return top;
  }

  json::value Logprobs(const std::vector<TextToken>& tokens) const {
    if (!logprobs_) return nullptr;
    json::array names, logprobs, tops, offsets;
    for (const TextToken& entry : tokens) {
      names.emplace_back(names_.Text(entry.token.token));
      logprobs.push_back(LogprobJson(entry.token.logprob));
      tops.push_back(Top(entry.token));
      offsets.emplace_back(entry.text_offset);
    }
    return json::object{{"tokens", std::move(names)},
                        {"token_logprobs", std::move(logprobs)},
                        {"top_logprobs", std::move(tops)},
                        {"text_offset", std::move(offsets)}};
  }

  const Envelope envelope_;
  const TokenNames names_;
  const std::vector<std::vector<TokenId>> prompts_;
  const std::vector<std::string> echoes_;
  const int n_;
  const bool logprobs_, include_usage_, token_ids_;
};

}  // namespace

std::unique_ptr<ResponseFormat> MakeCompletionFormat(Envelope envelope, const GenerationRequest& request,
                                                     const Tokenizer& tokenizer,
                                                     std::vector<std::vector<TokenId>> prompts,
                                                     std::vector<std::string> echoes) {
  return std::make_unique<CompletionFormat>(std::move(envelope), request, tokenizer, std::move(prompts),
                                            std::move(echoes));
}

}  // namespace prefixd
