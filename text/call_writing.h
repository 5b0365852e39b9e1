// CallWriting: how a model writes the calls of one answer, byte by byte: as its chat template renders them.
// So the prompt of the next turn, which has the calls again, begins with the same text, and its KV is cached.
// The grammar that forces calls (grammar/call_grammar.h) is made of it. Plain values; any thread.
//
// Invariants
//   1. The parser of the format finds the calls in what is written, and nothing else.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/chat_template.h"
#include "text/output/tool_format.h"

namespace prefixd {

struct CallPart {
  enum class Kind : uint8_t {
    kText,
    kName,
    kId,         // of CallWriting::ids
    kNumber,     // of the call, in an id that has its name, too
    kArguments,  // a JSON object, with one space after ',' and ':'
    kTags,       // each argument between `tags`
    kKeywords,   // key=value of each argument, as Python writes them
  };
  Kind kind = Kind::kText;
  std::string text = {};  // kText
  const ArgumentTags* tags = nullptr;
  bool operator==(const CallPart&) const = default;
};

struct CallWriting {
  std::vector<CallPart> first;  // of the first call, with its arguments
  std::vector<CallPart> next;   // from there on, with the arguments of one more; empty: there is one call
  std::vector<CallPart> last;   // what follows the arguments of the last call
  CallIdStyle ids = CallIdStyle::kOpenAi;
  // A text in which it stands goes on with a call: `first` begins with it, after white space. Empty: calls
  // begin an answer.
  std::string trigger;
  std::string opening;  // without a trigger: may stand before the first call
  bool operator==(const CallWriting&) const = default;
};

// As most templates of the format write calls.
CallWriting WritingOf(const ToolFormat& format);

// As this template does: it is asked to render an answer with one call, and one with two. `ends` are the
// texts of the tokens that end an answer. Where that shows no writing that the parser understands, as the
// above.
CallWriting WritingOf(const ToolFormat& format, const ChatTemplate& chat_template,
                      std::span<const std::string> ends);

}  // namespace prefixd
