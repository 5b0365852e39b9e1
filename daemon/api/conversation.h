// Conversation: builds the messages of a chat from the blocks or items of another API. The messages are
// those that a client of /v1/chat/completions would send, so that a conversation has the same prompt, and the
// same cached tokens, whichever API it comes through.
//
// Threads: one owner.
//
// Invariants
//   1. A turn of the assistant is one message: its reasoning, its texts and its calls, in the order in which
//      a template shows them.
//   2. A turn with one text has it as a string, one with several, or with a mark, as a list of parts.
#pragma once

#include <boost/json/array.hpp>
#include <string_view>

namespace prefixd {

class Conversation {
 public:
  // Begins a turn of "system", "developer", "user" or "assistant". With `join`, the current turn goes on if
  // it is of the same role.
  void Turn(std::string_view role, bool join);
  // In the current turn.
  void Text(std::string_view text);
  void Part(boost::json::object part);  // a TextPart
  void Reasoning(std::string_view text);
  // `arguments` is a JSON object, or its text.
  void Call(std::string_view id, std::string_view name, boost::json::value arguments);
  // The result of a call ends the turn.
  void Result(std::string_view id, boost::json::value content);

  // Of the current turn. "" when there is none.
  std::string_view role() const { return role_; }
  bool has_text() const { return !parts_.empty(); }
  bool has_calls() const { return !calls_.empty(); }
  bool has_reasoning_alone() const { return !reasoning_.empty() && parts_.empty() && calls_.empty(); }

  // Ends the current turn.
  boost::json::array Take();

 private:
  void End();

  boost::json::array messages_;
  std::string_view role_;  // a constant
  boost::json::array parts_, calls_;
  boost::json::string reasoning_;
};

// The member of an item or block. Null where it is missing, null or not a string.
const boost::json::string* TextOf(const boost::json::object& object, std::string_view name);
// One text without a mark as a string, others as a list of parts.
boost::json::value ContentOf(boost::json::array parts);
boost::json::object TextPart(std::string_view text);
// The same, with the members of `source` that mark the end of a reusable prefix (prompt_marks.h).
boost::json::object TextPart(std::string_view text, const boost::json::object& source);

}  // namespace prefixd
