// PromptMarks: where a conversation says that a reusable prefix ends, as positions in its tokens.
//
// A part of a message has `prompt_cache_breakpoint` (OpenAI) or `cache_control` (Anthropic, and clients that
// translate). Take removes these members, so that a prompt does not depend on them, and remembers the places.
// Marked is a copy of the conversation in which each place has a mark, a text that the prompt does not have.
// Place looks for the marks in it, rendered. What precedes a mark must be what the prompt begins with;
// otherwise the mark counts for nothing. A place within a token is rounded down.
//
// Threads: one owner.
#pragma once

#include <boost/json/array.hpp>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/marked_text.h"
#include "base/types.h"
#include "cache/retention.h"
#include "daemon/api/request_fields.h"
#include "text/chat_template.h"

namespace prefixd {

class PromptMarks {
 public:
  // Takes the members out of the conversation. Returns the error about a malformed one. Only the last
  // kMostBreakpoints places count.
  std::optional<ApiError> Take(ChatTemplate::Input* input);

  bool empty() const { return places_.empty(); }
  // The conversation with marks that `prompt`, the rendered one, does not have. Requires that `input` is the
  // one of Take. Called once.
  ChatTemplate::Input Marked(ChatTemplate::Input input, std::string_view prompt);
  // `marked` is the rendered conversation with marks; `encode` gives the ids of the beginning of the prompt
  // with so many bytes, and is called at most kMostBreakpoints times. A breakpoint that names no lifetime has
  // 0 seconds.
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

  std::string MarkOf(size_t place) const;

  std::vector<Where> places_;  // in the order of the prompt
  std::string mark_;           // what all marks begin with
};

// Copies the members that say where a prefix ends from a block or part of another API.
void CopyMark(const boost::json::object& from, boost::json::object* to);

}  // namespace prefixd
