#include <algorithm>
#include <boost/json.hpp>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "daemon/api/long_bodies.h"
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
        continuous_usage_(request.continuous_usage),
        token_ids_(request.return_token_ids),
        chunk_head_(ChunkHead(Head())) {}

  void AddPromptLogprobs(size_t prompt, std::vector<GeneratedToken> logprobs) override {
    if (prompt_logprobs_.size() <= prompt) prompt_logprobs_.resize(prompt + 1);
    std::move(logprobs.begin(), logprobs.end(), std::back_inserter(prompt_logprobs_[prompt]));
  }

  std::string FullBody(const std::vector<ChoiceResult>& choices, const TokenUsage& usage) override {
    std::string text;
    size_t bytes = 0;
    for (const ChoiceResult& choice : choices) bytes += LogprobsBytes(choice.piece);
    text.reserve(bytes);  // once: every call may double what there is
    ObjectText body(&text);
    body.Members(Head());
    body.Key("choices");
    for (size_t i = 0; i < choices.size(); ++i) {
      text.push_back(i == 0 ? '[' : ',');
      AppendChoice(static_cast<int>(i), choices[i].piece, true, &choices[i].end, &text);
    }
    text.append(choices.empty() ? "[]" : "]");
    body.Member("usage", UsageJson(usage));
    body.End();
    return text;
  }

  std::string Opening(const TokenUsage&) override { return ""; }

  std::string Chunk(int choice, const TextPiece& piece, bool first, const ChoiceFinish* end,
                    const TokenUsage& usage) override {
    std::string text;
    text.reserve(chunk_head_.size() + kShortChunkBytes + LogprobsBytes(piece));
    ObjectText body(chunk_head_, &text);
    AppendChoice(choice, piece, first, end, &text);
    text.push_back(']');
    if (include_usage_ || continuous_usage_)
      body.Member("usage", continuous_usage_ ? json::value(UsageJson(usage)) : json::value(nullptr));
    body.End();
    return text.append(kSseEnd);
  }

  std::string Ending(const TokenUsage& usage) override {
    if (!include_usage_) return std::string(kSseDone);
    json::object body = Head();
    body.emplace("choices", json::array());
    body.emplace("usage", UsageJson(usage));
    return SseEvent(json::serialize(body)).append(kSseDone);
  }

 private:
  json::object Head() const {
    return {{"id", metadata_.id},
            {"object", "text_completion"},
            {"created", metadata_.created},
            {"model", metadata_.model},
            {"system_fingerprint", metadata_.fingerprint}};
  }

  void AppendChoice(int index, const TextPiece& piece, bool first, const ChoiceFinish* end,
                    std::string* out) const {
    const size_t prompt = static_cast<size_t>(index / n_);
    const bool echoed = first && !echoes_.empty();
    ObjectText choice(out);
    choice.Key("index");
    out->append(std::to_string(index));
    choice.Text("text", echoed ? echoes_[prompt].text + piece.text : piece.text);
    choice.Key("logprobs");
    AppendLogprobs(prompt, echoed, piece.tokens, out);
    AppendFinish(end, &choice, out);
    if (token_ids_) choice.Member("token_ids", TokenIdsJson(piece.tokens));
    if (token_ids_ && first) choice.Member("prompt_token_ids", IdsJson(ids_[prompt]));
    if (prompt_top_ >= 0)
      choice.Member("prompt_logprobs", PromptLogprobsJson(ScoresOf(prompt), prompt_top_, tokenizer_));
    choice.End();
  }

  size_t LogprobsBytes(const TextPiece& piece) const {
    size_t bytes = 0;
    for (const TextToken& entry : piece.tokens)
      bytes += top_ < 0 ? 0 : LogprobTextBytes(tokenizer_, entry.token);
    return bytes;
  }

  const std::vector<GeneratedToken>& ScoresOf(size_t prompt) const {
    static const std::vector<GeneratedToken> kNone;
    return prompt < prompt_logprobs_.size() ? prompt_logprobs_[prompt] : kNone;
  }

  // Maps names to log probabilities: the likeliest tokens, and the actual token if it is not among them.
  void AppendTop(const GeneratedToken& token, std::string* out) const {
    std::unordered_set<std::string> names;
    ObjectText top(out);
    bool drawn = false;
    const auto add = [&](TokenId id, float logprob) {
      // Two parts of code points may have the same text; then the second is named by its id.
      std::string name = names_.Text(id);
      if (names.contains(name)) name = TokenNames::ById(id);
      if (names.insert(name).second) top.Member(name, LogprobJson(logprob));
    };
    const size_t shown = std::min(token.top.size(), static_cast<size_t>(top_));
    for (size_t i = 0; i < shown; ++i) {
      drawn = drawn || token.top[i].token == token.token;
      add(token.top[i].token, token.top[i].logprob);
    }
    if (!drawn) add(token.token, token.logprob);
    top.End();
  }

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

  struct Entry {
    TokenId id;
    const GeneratedToken* scored;  // null: the token has no log probability
    size_t offset;
  };

  // The tokens of an echoed prompt. The first one has no log probability.
  void AddPrompt(size_t prompt, size_t length, std::vector<Entry>* entries) const {
    const std::vector<GeneratedToken>& scores = ScoresOf(prompt);
    const std::vector<size_t> offsets = EchoOffsets(prompt, length);
    for (size_t i = 0; i < ids_[prompt].size(); ++i) {
      const bool scored = i > 0 && i <= scores.size();
      entries->push_back({ids_[prompt][i], scored ? &scores[i - 1] : nullptr, offsets[i]});
    }
  }

  // `echoed`: the prompt precedes the tokens. Offsets count from the start of the text, prompt included.
  void AppendLogprobs(size_t prompt, bool echoed, const std::vector<TextToken>& tokens,
                      std::string* out) const {
    if (top_ < 0) {
      out->append("null");
      return;
    }
    std::vector<Entry> entries;
    const size_t length = echoes_.empty() ? 0 : CodePoints(echoes_[prompt].text);
    if (echoed) AddPrompt(prompt, length, &entries);
    for (const TextToken& token : tokens)
      entries.push_back({token.token.token, &token.token, length + token.text_offset});
    const auto append_list = [&](const auto& append) {
      out->push_back('[');
      for (size_t i = 0; i < entries.size(); ++i) {
        if (i > 0) out->push_back(',');
        append(entries[i]);
      }
      out->push_back(']');
    };
    ObjectText object(out);
    object.Key("tokens");
    append_list([&](const Entry& entry) {
      out->push_back('"');
      AppendEscaped(names_.Text(entry.id), out);
      out->push_back('"');
    });
    object.Key("token_logprobs");
    append_list([&](const Entry& entry) {
      out->append(entry.scored == nullptr ? "null" : json::serialize(LogprobJson(entry.scored->logprob)));
    });
    object.Key("top_logprobs");
    append_list([&](const Entry& entry) {
      if (entry.scored == nullptr) {
        out->append("null");
      } else {
        AppendTop(*entry.scored, out);
      }
    });
    object.Key("text_offset");
    append_list([&](const Entry& entry) { out->append(std::to_string(entry.offset)); });
    object.End();
  }

  const ResponseMetadata metadata_;
  const Tokenizer& tokenizer_;
  const TokenNames names_;
  const std::vector<std::vector<TokenId>> ids_;
  const std::vector<EchoText> echoes_;
  const int n_, top_, prompt_top_;
  const bool skip_special_, include_usage_, continuous_usage_, token_ids_;
  const std::string chunk_head_;
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
