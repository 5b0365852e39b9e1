// ResponseFormat: the JSON of an endpoint's responses, for full bodies and for the chunks of a stream. There
// is one implementation for chat and one for completions; Inference uses only this interface.
//
// Threads: the io thread of one exchange.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/choice_decoder.h"
#include "daemon/api/generation_request.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

struct TokenUsage {
  int prompt_tokens = 0, completion_tokens = 0;
  int cached_tokens = 0;       // of the prompt; the others were computed
  int cache_write_tokens = 0;  // of the prompt: became reusable for other requests
  int computed_tokens() const { return prompt_tokens - cached_tokens; }
};

// Members that all bodies and chunks of one response share.
struct ResponseMetadata {
  std::string id;
  int64_t created = 0;
  std::string model;  // as in the request
  std::string fingerprint;
};

struct ChoiceFinish {
  std::string_view finish_reason;  // "stop", "length"
  const std::string* stop_string = nullptr;
  std::optional<TokenId> stop_token;
};

struct ChoiceResult {
  TextPiece piece;  // the whole choice
  ChoiceFinish end;
};

// A prompt as a response repeats it.
struct EchoText {
  std::string text;
  bool verbatim = false;  // the text of the request, without special tokens that the tokenizer added
};

class ResponseFormat {
 public:
  virtual ~ResponseFormat() = default;
  // Appends log probabilities of a prompt's tokens, from its second token on, in order. All of them are
  // appended before a choice of that prompt is formatted.
  virtual void AddPromptLogprobs(size_t prompt, std::vector<GeneratedToken> logprobs) = 0;
  virtual std::string FullBody(const std::vector<ChoiceResult>& choices, const TokenUsage& usage) const = 0;
  // Chunks that precede all others, in order. `usage` as for Chunk.
  virtual std::vector<std::string> OpeningChunks(const TokenUsage* usage) const = 0;
  // A chunk with a piece of a choice. `first` marks the first piece; `end` is not null for the last one.
  // `usage` is the usage so far, or null when chunks do not show it.
  virtual std::string Chunk(int choice, const TextPiece& piece, bool first, const ChoiceFinish* end,
                            const TokenUsage* usage) const = 0;
  virtual std::string UsageChunk(const TokenUsage& usage) const = 0;
};

// `prompt` are its tokens, for return_token_ids. `echo` precedes every choice.
std::unique_ptr<ResponseFormat> MakeChatFormat(ResponseMetadata metadata, const GenerationRequest& request,
                                               const Tokenizer& tokenizer, std::vector<TokenId> prompt,
                                               std::string echo);
// There are n choices per prompt. `ids` are the tokens of the prompts; they are needed for return_token_ids
// and for log probabilities of an echo, and empty otherwise. `echoes` is empty, or has for each prompt the
// text that precedes its choices.
std::unique_ptr<ResponseFormat> MakeCompletionFormat(ResponseMetadata metadata,
                                                     const GenerationRequest& request,
                                                     const Tokenizer& tokenizer,
                                                     std::vector<std::vector<TokenId>> ids,
                                                     std::vector<EchoText> echoes);

}  // namespace prefixd
