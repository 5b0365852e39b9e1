// PromptMarks: where a conversation says that a reusable prefix ends, as positions in its tokens.
//
// A part of a message has `prompt_cache_breakpoint` (OpenAI) or `cache_control` (Anthropic, and clients that
// translate). Take removes these members, so that a prompt does not depend on them, and remembers the places.
// Marked is a copy of the conversation in which each place has a mark, a text that nothing else should have.
// Place looks for the marks in it, rendered. What precedes a mark must be what the prompt begins with;
// otherwise the mark counts for nothing. A place within a token is rounded down.
//
// Threads: one owner.
#pragma once

#include <boost/json/array.hpp>
#include <functional>
#include <string>
#include <vector>

#include "base/marked_text.h"
#include "base/types.h"
#include "cache/retention.h"
#include "daemon/api/request_fields.h"
#include "text/chat_template.h"

namespace prefixd {

class PromptMarks {
 public:
  // Returns the error about a malformed member. Of more than 80 places the last ones count.
  static Parsed<PromptMarks> Take(ChatTemplate::Input* input);

  bool empty() const { return places_.empty(); }
  // The conversation with marks. Requires that it is the one of Take.
  ChatTemplate::Input Marked(ChatTemplate::Input input) const;
  // `prompt` is the rendered conversation and `marked` the one with marks; `encode` gives the ids of the
  // beginning of the prompt with so many bytes. A breakpoint that names no lifetime has 0 seconds.
  using Encode = std::function<Parsed<std::vector<TokenId>>(size_t bytes)>;
  Parsed<std::vector<Breakpoint>> Place(const MarkedText& prompt, const MarkedText& marked,
                                        const std::vector<TokenId>& ids, const Encode& encode) const;

 private:
  struct Where {
    bool tool = false;
    size_t message = 0;  // or the number of the tool
    size_t part = 0;
    double seconds = 0;
  };

  std::vector<Where> places_;  // in the order of the prompt
};

// Copies the members that say where a prefix ends from a block or part of another API.
void CopyMark(const boost::json::object& from, boost::json::object* to);

}  // namespace prefixd
