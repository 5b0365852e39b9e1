#include <algorithm>
#include <boost/json.hpp>
#include <iterator>
#include <utility>

#include "daemon/api/response_format.h"
#include "daemon/api/response_json.h"
#include "text/tokenizer/detokenizer.h"

namespace prefixd {

namespace {

namespace json = boost::json;

class CompletionFormat final : public ResponseFormat {
 public:
  CompletionFormat(ResponseMetadata metadata, const GenerationRequest& request, const Tokenizer& tokenizer,
                   std::vector<std::vector<TokenId>> ids, std::vector<EchoText> echoes)
      : metadata_(std::move(metadata)),
        tokenizer_(tokenizer),
        names_(tokenizer, request.tokens_as_ids, request.skip_special_tokens),
        ids_(std::move(ids)),
        echoes_(std::move(echoes)),
        n_(request.n),
        top_(request.sampling.logprobs),
        prompt_top_(request.prompt_logprobs),
        skip_special_(request.skip_special_tokens),
        include_usage_(request.include_usage),
        token_ids_(request.return_token_ids) {}

  void AddPromptLogprobs(size_t prompt, std::vector<GeneratedToken> logprobs) override {
    if (prompt_logprobs_.size() <= prompt) prompt_logprobs_.resize(prompt + 1);
    std::move(logprobs.begin(), logprobs.end(), std::back_inserter(prompt_logprobs_[prompt]));
  }

  std::string FullBody(const std::vector<ChoiceResult>& choices, const TokenUsage& usage) const override {
    json::array list;
    for (size_t i = 0; i < choices.size(); ++i)
      list.push_back(Choice(static_cast<int>(i), choices[i].piece, true, &choices[i].end));
    json::object body = Head();
    body.emplace("choices", std::move(list));
    body.emplace("usage", UsageJson(usage));
    return json::serialize(body);
  }

  std::vector<std::string> OpeningChunks() const override { return {}; }

  std::string Chunk(int choice, const TextPiece& piece, bool first, const ChoiceFinish* end,
                    const TokenUsage* usage) const override {
    json::object body = Head();
    body.emplace("choices", json::array{Choice(choice, piece, first, end)});
    if (include_usage_)
      body.emplace("usage", usage == nullptr ? json::value(nullptr) : json::value(UsageJson(*usage)));
    return json::serialize(body);
  }

  std::string UsageChunk(const TokenUsage& usage) const override {
    json::object body = Head();
    body.emplace("choices", json::array());
    body.emplace("usage", UsageJson(usage));
    return json::serialize(body);
  }

 private:
  json::object Head() const {
    return {{"id", metadata_.id},
            {"object", "text_completion"},
            {"created", metadata_.created},
            {"model", metadata_.model},
            {"system_fingerprint", metadata_.fingerprint}};
  }

  json::object Choice(int index, const TextPiece& piece, bool first, const ChoiceFinish* end) const {
    const size_t prompt = static_cast<size_t>(index / n_);
    const bool echoed = first && !echoes_.empty();
    json::object choice = {{"index", index},
                           {"text", echoed ? echoes_[prompt].text + piece.text : piece.text},
                           {"logprobs", Logprobs(prompt, echoed, piece.tokens)},
                           {"finish_reason", end == nullptr ? json::value(nullptr)
                                                            : json::value(std::string(end->finish_reason))}};
    if (end != nullptr) choice.emplace("stop_reason", StopReasonJson(*end));
    if (token_ids_) choice.emplace("token_ids", TokenIdsJson(piece.tokens));
    if (token_ids_ && first) choice.emplace("prompt_token_ids", IdsJson(ids_[prompt]));
    if (prompt_top_ >= 0)
      choice.emplace("prompt_logprobs", PromptLogprobsJson(ScoresOf(prompt), prompt_top_, tokenizer_));
    return choice;
  }

  const std::vector<GeneratedToken>& ScoresOf(size_t prompt) const {
    static const std::vector<GeneratedToken> kNone;
    return prompt < prompt_logprobs_.size() ? prompt_logprobs_[prompt] : kNone;
  }

  // Maps names to log probabilities: the likeliest tokens, and the actual token if it is not among them.
  json::object Top(const GeneratedToken& token) const {
    json::object top;
    bool drawn = false;
    const auto add = [&](TokenId id, float logprob) {
      // Two parts of code points may have the same text; then the second is named by its id.
      const std::string text = names_.Text(id);
      top.emplace(top.contains(text) ? TokenNames::ById(id) : text, LogprobJson(logprob));
    };
    const size_t shown = std::min(token.top.size(), static_cast<size_t>(top_));
    for (size_t i = 0; i < shown; ++i) {
      drawn = drawn || token.top[i].token == token.token;
      add(token.top[i].token, token.top[i].logprob);
    }
    if (!drawn) add(token.token, token.logprob);
    return top;
  }

  struct Columns {
    json::array names, logprobs, tops, offsets;
    void Add(std::string name, json::value logprob, json::value top, size_t offset) {
      names.emplace_back(std::move(name));
      logprobs.push_back(std::move(logprob));
      tops.push_back(std::move(top));
      offsets.emplace_back(offset);
    }
  };

  // The offsets of the tokens of an echoed prompt in the echo, which has `length` code points. The tokens may
  // have more text than the echo: that of tokens which the tokenizer added at the front.
  std::vector<size_t> EchoOffsets(size_t prompt, size_t length) const {
    Detokenizer detokenizer(tokenizer_, skip_special_ && !echoes_[prompt].verbatim);
    std::vector<size_t> offsets;
    size_t end = 0;
    for (const TokenId id : ids_[prompt]) {
      offsets.push_back(end);
      end += CodePoints(detokenizer.Push(id));
    }
    end += CodePoints(detokenizer.Flush());
    const size_t before = end - std::min(end, length);
    for (size_t& offset : offsets) offset -= std::min(offset, before);
    return offsets;
  }

  // Adds the tokens of an echoed prompt. The first one has no log probability.
  void AddPrompt(size_t prompt, size_t length, Columns* columns) const {
    const std::vector<GeneratedToken>& scores = ScoresOf(prompt);
    const std::vector<size_t> offsets = EchoOffsets(prompt, length);
    for (size_t i = 0; i < ids_[prompt].size(); ++i) {
      const TokenId id = ids_[prompt][i];
      const bool scored = i > 0 && i <= scores.size();
      columns->Add(names_.Text(id), scored ? LogprobJson(scores[i - 1].logprob) : json::value(nullptr),
                   scored ? json::value(Top(scores[i - 1])) : json::value(nullptr), offsets[i]);
    }
  }

  // `echoed`: the prompt precedes the tokens. Offsets count from the start of the text, prompt included.
  json::value Logprobs(size_t prompt, bool echoed, const std::vector<TextToken>& tokens) const {
    if (top_ < 0) return nullptr;
    Columns columns;
    const size_t length = echoes_.empty() ? 0 : CodePoints(echoes_[prompt].text);
    if (echoed) AddPrompt(prompt, length, &columns);
    for (const TextToken& entry : tokens) {
      columns.Add(names_.Text(entry.token.token), LogprobJson(entry.token.logprob), Top(entry.token),
                  length + entry.text_offset);
    }
    return json::object{{"tokens", std::move(columns.names)},
                        {"token_logprobs", std::move(columns.logprobs)},
                        {"top_logprobs", std::move(columns.tops)},
                        {"text_offset", std::move(columns.offsets)}};
  }

  const ResponseMetadata metadata_;
  const Tokenizer& tokenizer_;
  const TokenNames names_;
  const std::vector<std::vector<TokenId>> ids_;
  const std::vector<EchoText> echoes_;
  const int n_, top_, prompt_top_;
  const bool skip_special_, include_usage_, token_ids_;
  std::vector<std::vector<GeneratedToken>> prompt_logprobs_;  // by prompt
};

}  // namespace

std::unique_ptr<ResponseFormat> MakeCompletionFormat(ResponseMetadata metadata,
                                                     const GenerationRequest& request,
                                                     const Tokenizer& tokenizer,
                                                     std::vector<std::vector<TokenId>> ids,
                                                     std::vector<EchoText> echoes) {
  return std::make_unique<CompletionFormat>(std::move(metadata), request, tokenizer, std::move(ids),
                                            std::move(echoes));
}

}  // namespace prefixd
