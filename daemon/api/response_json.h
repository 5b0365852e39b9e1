// The pieces that the JSON of several endpoints shares. Included by .cc files of this folder.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "daemon/api/response_format.h"

namespace prefixd {

boost::json::object UsageJson(const UsageFigures& usage);
boost::json::array IdsJson(const std::vector<TokenId>& ids);
boost::json::array TokenIdsJson(const std::vector<TextToken>& tokens);
boost::json::value StopReasonJson(const ChoiceEnd& end);

// A float as a number that reads back to the same bits, whether it is read as a float or as a double; not
// finite or below -9999: -9999, as clients take no infinity.
boost::json::value LogprobJson(float logprob);

// As vLLM: null for the first token, then for each its id, then those of the likeliest `top` of its place,
// with log probability, rank and text.
boost::json::array PromptLogprobsJson(const std::vector<GeneratedToken>& logprobs, int top,
                                      const Tokenizer& tokenizer);

// How tokens are named in log probabilities.
class TokenNames {
 public:
  // `as_ids`: "token_id:123" instead of text. `skip_special`: special tokens add no bytes to the answer.
  TokenNames(const Tokenizer& tokenizer, bool as_ids, bool skip_special)
      : tokenizer_(&tokenizer), as_ids_(as_ids), skip_special_(skip_special) {}

  // The text of the token alone, with U+FFFD where it is part of a code point.
  std::string Text(TokenId id) const;
  // The bytes that it adds to the answer.
  boost::json::array Bytes(TokenId id) const;
  static std::string ById(TokenId id) { return "token_id:" + std::to_string(id); }

 private:
  const Tokenizer* tokenizer_;
  bool as_ids_, skip_special_;
};

}  // namespace prefixd
