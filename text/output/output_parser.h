// OutputParser: the text that a model generates, in pieces, to events: text for the user, reasoning, and
// calls of tools. It stands between the detokenised text of one answer and the format of every API, and
// knows none of them. The text is valid UTF-8, but a piece may end within a code point.
//
// Threads: one owner. The options' format, tags and tools outlive it.
//
// Invariants
//   1. The events of all Take calls, joined (adjacent texts of one kind are one), are a function of the whole
//      text and the options; they do not depend on how the text was cut.
//   2. Nothing is lost and nothing leaks: a call comes out as one kCall, then kArguments that join to the
//      arguments as the model wrote them, then kCallEnd, and none of its bytes is content. Everything else
//      is content or reasoning, but for the tags of reasoning and of calls, and white space beside them.
//   3. A call is well-formed: its format is complete up to the end of the arguments, these are a JSON object,
//      and its name is one of `tools`. All of a malformed call is content.
//   4. A call is held back until it is known to be well-formed, unless `trusted` is set. Then its name and
//      arguments come as they are generated; where such a call is cut off, its last event is kCallEnd.
//   5. Push takes time linear in its text. The parser holds no more than the text of a call, of white space,
//      or of a tag that may be complete later: held_bytes().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "text/output/tool_format.h"

namespace prefixd {

struct OutputEvent {
  enum class Kind : uint8_t { kContent, kReasoning, kCall, kArguments, kCallEnd };
  Kind kind = Kind::kContent;
  std::string text;     // of kContent, kReasoning and kArguments; the name of a kCall
  std::string id = {};  // of a kCall
  size_t call = 0;      // number of the call in this answer, from 0; of the last three kinds
  bool operator==(const OutputEvent&) const = default;
};

// What a format whose values have no types of their own needs of a tool: the JSON types that the schema
// allows for each argument. No types: any.
struct ToolTypes {
  std::map<std::string, std::set<std::string, std::less<>>, std::less<>> arguments;
};

// The tools that may be called, by name.
using ToolNames = std::map<std::string, ToolTypes, std::less<>>;

struct OutputOptions {
  const ToolFormat* format = nullptr;        // null: nothing is a call
  const ReasoningTags* reasoning = nullptr;  // null: nothing is reasoning, but for the channels of `format`
  std::shared_ptr<const ToolNames> tools = nullptr;  // not null if `format` is not
  bool begins_in_reasoning = false;                  // the prompt ends with the tag that opens it
  bool trusted = false;                              // a grammar lets the model write well-formed calls only
  uint64_t id_seed = 0;                              // for MakeCallId
  std::string prefix = {};  // of the answer that the prompt already has: parsed before the text
};

class OutputParser {
 public:
  virtual ~OutputParser() = default;
  virtual void Push(std::string_view text) = 0;
  // The text has ended. Releases what is held back. Call it once; no Push follows.
  virtual void Finish() = 0;
  virtual std::vector<OutputEvent> Take() = 0;
  virtual bool has_events() const = 0;
  virtual size_t calls() const = 0;  // complete ones
  // The text so far ends within reasoning: what comes now is a part of it, or the tag that ends it.
  virtual bool in_reasoning() const = 0;
  virtual size_t held_bytes() const = 0;
};

std::unique_ptr<OutputParser> MakeOutputParser(OutputOptions options);

}  // namespace prefixd
