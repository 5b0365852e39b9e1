// ResponseFormat: what an endpoint sends, as a full body or as the server-sent events of a stream. Every
// endpoint that generates text has one implementation; Inference uses only this interface.
//
// Threads: the io thread of one exchange.
//
// Invariants
//   1. A response is one FullBody, or Opening, then any number of Chunk, then Ending or Failure. Ping may
//      come at any time before the end.
//   2. What these return for a stream is whole events, each with its blank line, or "" where the API has
//      none.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/choice_decoder.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/sse.h"
#include "daemon/http/error_response.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

struct TokenUsage {
  int prompt_tokens = 0, completion_tokens = 0;
  int cached_tokens = 0;       // of the prompt; the others were computed
  int cache_write_tokens = 0;  // of the prompt: became reusable for other requests
  // Of these: those that are to be kept for at least kLongLifetimes.
  std::array<int, kLongLifetimes.size()> written_for{};
  // Of the prompt: the leading tokens that the request asked to keep, and those that are kept.
  int asked_kept_tokens = 0, kept_tokens = 0;
  int reasoning_tokens = 0;  // of the completion
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
  virtual std::string FullBody(const std::vector<ChoiceResult>& choices, const TokenUsage& usage) = 0;
  // What precedes all chunks. `usage` is the usage so far, as for Chunk.
  virtual std::string Opening(const TokenUsage& usage) = 0;
  // A piece of a choice. `first` marks the first piece; `end` is not null for the last one.
  virtual std::string Chunk(int choice, const TextPiece& piece, bool first, const ChoiceFinish* end,
                            const TokenUsage& usage) = 0;
  // What follows the last chunk of all choices.
  virtual std::string Ending(const TokenUsage& usage) = 0;
  // The end of a stream that fails: at most 4 KiB. The default is the error event of the style alone.
  virtual std::string Failure(const ApiError& error, const ErrorStyle& style, std::string_view request_id) {
    return style.event(error, request_id);
  }
  virtual std::string_view Ping() const { return kSsePing; }
  // The bytes of the answer that it keeps between two chunks.
  virtual size_t held_bytes() const { return 0; }
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
