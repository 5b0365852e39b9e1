// PromptRecord: what is remembered of a request to explain later what it found in the cache: hashes, offsets
// and counts of its prompt and its answer, never their text. PromptChange says where two of them part.
//
//   messages --AddMessages--> rendering --AddPrompt--> prompt --AddAnswer, EndAnswer--> whole
//
// Threads: one owner; when it is whole it does not change, and any thread may read it.
#pragma once

#include <boost/json/array.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/marked_text.h"
#include "daemon/api/choice_decoder.h"
#include "daemon/api/explain/prefix_trace.h"
#include "engine/request.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

// A message of a conversation, or a whole prompt that is a text. Places and lengths are code points.
struct MessageMark {
  size_t content = 0;           // where its content begins in PromptRecord::contents
  size_t length = 0;            // of its content
  std::optional<int64_t> text;  // where its content begins in PromptRecord::text, if it is shown unchanged
  bool system = false;
};

// A place in a conversation.
struct MessagePlace {
  size_t message = 0;
  std::optional<size_t> character;  // of its content; nothing: in what the template writes for the message
};

// What made a prompt part from an earlier prompt and its answer.
enum class PromptChange : uint8_t {
  kNone,          // one of them begins with the other
  kSalt,          // another cache_salt: they share no KV
  kTools,         // the tools
  kEffort,        // the effort of reasoning
  kVariables,     // other inputs of the chat template
  kMessage,       // a message differs, or is another one
  kTemplate,      // the messages are the same, and the template writes them otherwise than before
  kTokenization,  // the text is the same, and its token ids are others than those that were generated
};
inline constexpr int kPromptChanges = 8;
std::string_view PromptChangeName(PromptChange change);  // "none", "cache_salt", ...

struct PromptComparison {
  std::string id;  // of the earlier response
  PromptChange change = PromptChange::kNone;
  size_t common_tokens = 0;
  std::optional<MessagePlace> place;  // of the first difference; none for kNone and kSalt
  // One prompt begins with all ids of the other of which there is KV: a message differs only behind them, as
  // when a client adds to the end of an answer.
  bool whole = false;
  bool in_answer = false;  // the message is the answer of the earlier request
  bool in_system = false;  // the message is one of the system
};

struct PromptRecord {
  std::string id;       // of the response
  int64_t created = 0;  // Unix seconds
  // Hashes of what a prompt depends on beside its messages.
  uint64_t salt = 0, tools = 0, effort = 0, variables = 0;
  std::optional<uint64_t> key;        // a hash of its prompt_cache_key
  std::vector<MessageMark> messages;  // those of the prompt, then the answer
  size_t prompt_messages = 0, prompt_tokens = 0;
  PrefixTrace contents;  // of each message: its role, the code points of its content, its end with its calls
  // Of the rendered prompt, then of the answer as it was generated, without its last token: no KV of that one
  // was computed. Code points, as far as no last token changes them, and ids.
  PrefixTrace text, tokens;

  // What the engine and the comparison found.
  std::optional<PromptComparison> comparison;
  PromptUsage usage;
  MissReport misses;
  std::optional<MessagePlace> first_miss;
  double misses_at = 0;  // the time of `misses` on the engine's clock, and as Unix seconds
  double misses_unix = 0;
  // Since then, in Unix seconds, chats may be written otherwise than before; nothing: they are not, or it
  // does not explain the first miss.
  std::optional<int64_t> template_changed;

  // Messages as a chat has them.
  void AddMessages(const boost::json::array& messages);
  // The prompt, as text and as ids. `ids` are of no text if the request has sent ids alone: then their
  // decoded text stands for it. A prompt without messages is one message, without an end: the answer to such
  // a prompt goes on in that message.
  void AddPrompt(const MarkedText& rendered, std::span<const TokenId> ids);
  void AddAnswerToken(TokenId id) { answer_ids_.push_back(id); }
  void AddAnswer(const TextPiece& piece);  // as the client gets it
  void EndAnswer(const Tokenizer& tokenizer, std::span<const TokenId> prompt);

  // The message in which a token of the prompt is. `ids` are those of the prompt.
  std::optional<MessagePlace> PlaceOfToken(std::span<const TokenId> ids, size_t token,
                                           const Tokenizer& tokenizer) const;
  // How many code points of the text the first ids of the prompt are. A decoder writes spaces that the text
  // does not have, such as one behind each control token: those do not count.
  size_t CodePointsOf(std::span<const TokenId> ids, const Tokenizer& tokenizer) const;
  bool is_chat() const { return !is_text_; }
  MessagePlace PlaceInText(size_t code_point) const;
  MessagePlace PlaceInContents(size_t unit) const;
  size_t held_bytes() const;

 private:
  void BeginMessage(std::string_view role);
  void EndMessage(uint64_t calls);
  void FindInText(const MarkedText& rendered);

  // Until the text is known, the contents themselves; and what is known of the answer until its end.
  std::vector<std::string> shown_;
  std::vector<TokenId> answer_ids_;
  bool is_text_ = false;               // a prompt without messages
  uint64_t calls_ = 0;                 // of the complete ones
  std::string call_name_, arguments_;  // of the call that is not complete
};

// Compares a prompt, without an answer yet, with an earlier request and its answer. `ids` are those of `now`.
PromptComparison ComparePrompts(const PromptRecord& now, std::span<const TokenId> ids,
                                const PromptRecord& before, const Tokenizer& tokenizer);

// A hash of the calls of tools of a message so far.
uint64_t AddCall(uint64_t calls, std::string_view name, std::string_view arguments);

}  // namespace prefixd
