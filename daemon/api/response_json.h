// JSON that several endpoints share. Only .cc files of this folder include this header. Pure; any thread.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "daemon/api/response_format.h"

namespace prefixd {

boost::json::object UsageJson(const TokenUsage& usage);
boost::json::array IdsJson(const std::vector<TokenId>& ids);
boost::json::array TokenIdsJson(const std::vector<TextToken>& tokens);
boost::json::value StopReasonJson(const ChoiceFinish& end);

// A float as a number that reads back to the same bits, as a float or as a double. Values that are not finite
// or below -9999 become -9999, because JSON has no infinity.
boost::json::value LogprobJson(float logprob);

// As in vLLM: null for the first token; for each other token an object with its id and the ids of the `top`
// likeliest tokens at its position, each with log probability, rank and text.
boost::json::array PromptLogprobsJson(const std::vector<GeneratedToken>& logprobs, int top,
                                      const Tokenizer& tokenizer);

// The names of tokens in log probabilities.
class TokenNames {
 public:
  // `as_ids`: names are "token_id:123" instead of text. `skip_special`: special tokens add no bytes to the
  // output.
  TokenNames(const Tokenizer& tokenizer, bool as_ids, bool skip_special)
      : tokenizer_(&tokenizer), as_ids_(as_ids), skip_special_(skip_special) {}

  // The text of the token alone, with U+FFFD where it is part of a code point.
  std::string Text(TokenId id) const;
  // The bytes that the token adds to the output.
  boost::json::array Bytes(TokenId id) const;
  static std::string ById(TokenId id) { return "token_id:" + std::to_string(id); }

 private:
  const Tokenizer* tokenizer_;
  bool as_ids_, skip_special_;
};

}  // namespace prefixd
