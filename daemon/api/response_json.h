// JSON that several endpoints share. Only .cc files of this folder include this header. Pure; any thread.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/response_format.h"

namespace prefixd {

boost::json::object UsageJson(const TokenUsage& usage);
// What was read from the cache, written to it and kept there, of the tokens of the prompt.
boost::json::object CacheDetailsJson(const TokenUsage& usage);
boost::json::array IdsJson(const std::vector<TokenId>& ids);
boost::json::array TokenIdsJson(const std::vector<TextToken>& tokens);
boost::json::value StopReasonJson(const ChoiceFinish& end);

// A float as a number that reads back to the same bits, as a float or as a double. Values that are not finite
// or below -9999 become -9999, because JSON has no infinity.
boost::json::value LogprobJson(float logprob);

class TokenNames;
// The log probabilities of tokens in the form of a chat, with commas between the entries.
void AppendLogprobEntries(const std::vector<TextToken>& tokens, const TokenNames& names, std::string* out);

// As in vLLM: null for the first token; for each other token an object with its id and the ids of the `top`
// likeliest tokens at its position, each with log probability, rank and text.
boost::json::array PromptLogprobsJson(const std::vector<GeneratedToken>& logprobs, int top,
                                      const Tokenizer& tokenizer);

// Appends the members of a JSON object to a text. Long members, and those of every chunk of a stream, are
// appended by the caller after Key, so that no JSON value of them is made.
class ObjectText {
 public:
  explicit ObjectText(std::string* out) : out_(out) { out_->push_back('{'); }
  // Goes on with an object of which `begun` has the first members.
  ObjectText(std::string_view begun, std::string* out) : out_(out), first_(false) { out_->append(begun); }
  void Key(std::string_view name);
  void Text(std::string_view name, std::string_view text);
  void Member(std::string_view name, const boost::json::value& value);
  void Members(const boost::json::object& members);
  void End() { out_->push_back('}'); }

 private:
  std::string* const out_;
  bool first_ = true;
};

// What every chunk of a stream begins with, to the first choice: an event with these members. ObjectText goes
// on with it.
std::string ChunkHead(const boost::json::object& members);
inline constexpr size_t kShortChunkBytes = 256;  // what a chunk has besides it, mostly

// Appends why a choice has ended: null without an end, for a chunk that is not its last.
void AppendFinish(const ChoiceFinish* end, ObjectText* choice, std::string* out);

// The most that one generated log probability takes while it is formatted: its text, for which the caller
// makes room at once, and what a completion needs to give every token of a position its own name.
inline constexpr size_t kLogprobTextBytes = 160;  // and more for the text of the token
size_t LogprobTextBytes(const Tokenizer& tokenizer, TokenId id);
size_t LogprobTextBytes(const Tokenizer& tokenizer, const GeneratedToken& token);  // `top` included

// The names of tokens in log probabilities.
class TokenNames {
 public:
  // `as_ids`: names are "token_id:123" instead of text. `skip_special`: special tokens add no bytes to the
  // output.
  TokenNames(const Tokenizer& tokenizer, bool as_ids, bool skip_special)
      : tokenizer_(&tokenizer), as_ids_(as_ids), skip_special_(skip_special) {}

  // The text of the token alone, with U+FFFD where it is part of a code point.
  std::string Text(TokenId id) const;
  // Appends the bytes that the token adds to the output, as a list of numbers.
  void AppendBytes(TokenId id, std::string* out) const;
  static std::string ById(TokenId id) { return "token_id:" + std::to_string(id); }

 private:
  const Tokenizer* tokenizer_;
  bool as_ids_, skip_special_;
};

}  // namespace prefixd
