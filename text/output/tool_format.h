// ToolFormat: how a family of models writes calls of tools into its text. All formats are rows of one table;
// call_reader.h reads a call by the steps of its row, and text/call_writing.h writes calls by them.
// Constants; any thread.
//
// Invariants
//   1. Names are unique. FindToolFormat("NAME") returns the row of that name.
//   2. A format has an opening text, or its calls begin with a text, or it has a bare character.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace prefixd {

enum class StepKind : uint8_t {
  kText,       // exactly `text`
  kMaybe,      // `text`, or nothing
  kSpace,      // any white space; `text` is what chat templates write there
  kName,       // the name of the function
  kNameAsId,   // functions.NAME:INDEX, which is the id of the call, too
  kId,         // the id of the call
  kCall,       // a JSON object with "name" and `text` (the arguments)
  kArguments,  // the arguments, a JSON object
  kTags,       // each argument between the four `tags`
  kPython,     // NAME(key=literal, ...)
};

struct ArgumentTags {
  std::string_view key, key_end, value, value_end;
  bool line_feeds = false;  // a line feed after `value` and one before `value_end` are not of the value
};

struct FormatStep {
  StepKind kind = StepKind::kText;
  std::string_view text = {};
  const ArgumentTags* tags = nullptr;
};

enum class CallIdStyle : uint8_t { kOpenAi, kNineCharacters };

struct ToolFormat {
  std::string_view name;
  // The format is chosen for a chat template that has all texts of one of these lists.
  std::vector<std::vector<std::string_view>> signatures = {};
  std::string_view open = {};         // before the first call; may be missing if calls begin with a text
  std::vector<FormatStep> call = {};  // one call
  std::string_view between = {};      // between two calls, besides white space
  std::string_view close = {};        // after the last call; may be missing
  bool each = false;  // models write `open`, a line feed and `close` around each call, rather than around all
  char bare = 0;      // a call may begin with this character at the start of the answer, without `open`
  CallIdStyle ids = CallIdStyle::kOpenAi;
  bool channels = false;  // harmony: reasoning, calls and text are channels
};

// All formats. A chat template has the first of them whose signature it contains.
std::span<const ToolFormat> ToolFormats();
// Null where no format has this name.
const ToolFormat* FindToolFormat(std::string_view name);
// The format of a chat template; the last row, "generic", where no signature matches.
const ToolFormat& ToolFormatOf(std::string_view chat_template);

// The tags between which a family of models writes its reasoning.
struct ReasoningTags {
  std::string_view begin, end;
};
// Null where the template knows no reasoning, or the channels of harmony.
const ReasoningTags* ReasoningTagsOf(std::string_view chat_template);

// The texts that may be control tokens of the vocabulary, and which the parser has to see.
std::vector<std::string_view> MarkersOf(const ToolFormat* format, const ReasoningTags* reasoning);

// The id of the call with this number among those of an answer. `seed` is another for each answer.
std::string MakeCallId(CallIdStyle style, uint64_t seed, size_t number);

}  // namespace prefixd
