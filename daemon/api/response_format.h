// How the answers of an endpoint look in JSON: whole ones and the chunks of a stream. One implementation for
// chat, one for completions; the inference in between knows neither. Used by one exchange's io thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/choice_text.h"
#include "daemon/api/generation_request.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

struct UsageFigures {
  int prompt_tokens = 0, completion_tokens = 0;
  int cached_tokens = 0;       // of the prompt; the rest was computed
  int cache_write_tokens = 0;  // of the prompt: computed, and reusable from now on
  int computed_tokens() const { return prompt_tokens - cached_tokens; }
};

// What all answers to one request have in common.
struct Envelope {
  std::string id;
  int64_t created = 0;
  std::string model;  // as asked for
  std::string fingerprint;
};

struct ChoiceEnd {
  std::string_view finish_reason;  // "stop", "length"
  const std::string* stop_string = nullptr;
  std::optional<TokenId> stop_token;
};

struct ChoiceAnswer {
  TextPiece piece;  // all of it
  ChoiceEnd end;
};

// A prompt, as answers repeat it.
struct EchoText {
  std::string text;
  bool as_it_came = false;  // holds special tokens that it named, and none that the tokenizer put before it
};

class ResponseFormat {
 public:
  virtual ~ResponseFormat() = default;
  // More log probabilities of a prompt's tokens, from its second one on, in order. All are there before an answer to that
  // prompt is put into words.
  virtual void AddPromptLogprobs(size_t prompt, std::vector<GeneratedToken> logprobs) = 0;
  virtual std::string Full(const std::vector<ChoiceAnswer>& choices, const UsageFigures& usage) const = 0;
  // Chunks that come before all others, in order.
  virtual std::vector<std::string> Opening() const = 0;
  // A piece of a choice; `first`: the first one of it. With `end` the last one. `usage`: as of now, where
  // each chunk shows it.
  virtual std::string Chunk(int choice, const TextPiece& piece, bool first, const ChoiceEnd* end,
                            const UsageFigures* usage) const = 0;
  virtual std::string UsageChunk(const UsageFigures& usage) const = 0;
};

// `prompt`: its tokens, for return_token_ids. `echo`: what stands before every answer.
std::unique_ptr<ResponseFormat> MakeChatFormat(Envelope envelope, const GenerationRequest& request,
                                               const Tokenizer& tokenizer, std::vector<TokenId> prompt,
                                               std::string echo);
// One prompt per n choices. `ids`: their tokens; needed for return_token_ids and for log probabilities of an echo, else empty.
// `echoes`: what stands before the text of their choices; empty, or as many.
std::unique_ptr<ResponseFormat> MakeCompletionFormat(Envelope envelope, const GenerationRequest& request,
                                                     const Tokenizer& tokenizer,
                                                     std::vector<std::vector<TokenId>> ids,
                                                     std::vector<EchoText> echoes);

}  // namespace prefixd
