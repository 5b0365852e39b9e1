// CallReader: reads one call of a tool by the steps of its format, byte by byte. output_parser.h uses it. One
// owner; the format and the tools outlive it.
//
// Invariants
//   1. After kFault, kComplete and kOver no byte follows.
//   2. The arguments are a JSON object when arguments_complete() is true, and a prefix of one before.
//   3. name() is one of the tools.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "text/output/json_scanner.h"
#include "text/output/output_parser.h"
#include "text/output/python_call.h"
#include "text/output/tool_format.h"

namespace prefixd {

class CallReader {
 public:
  enum class Result {
    kMore,
    kComplete,  // the byte was the last of the call
    kOver,      // the call had ended before leftover() and this byte
    kFault,     // no call
  };

  // `first_step`: the steps before it were read already. A `bare` call must have arguments.
  CallReader(const ToolFormat& format, const ToolNames& tools, size_t first_step, bool bare);

  Result Push(char c);

  bool named() const { return tool_ != nullptr; }
  const std::string& name() const { return tool_->first; }
  const std::string& id() const { return id_; }  // empty: the text has none
  // The arguments since the last TakeArguments.
  std::string TakeArguments() { return std::exchange(arguments_, {}); }
  bool arguments_complete() const { return arguments_complete_; }
  const std::string& leftover() const { return leftover_; }
  size_t held_bytes() const { return arguments_.capacity() + text_.capacity() + key_.capacity(); }

 private:
  enum class Place { kOpen, kFirstKey, kKey, kInKey, kColon, kValue, kInValue, kAfterValue };  // of kCall
  enum class TagPlace { kBetween, kKey, kBeforeValue, kValue };                                // of kTags

  Result Text(char c);
  Result Maybe(char c);
  Result Word(char c);
  Result Call(char c);
  Result CallKey(char c);
  Result CallValue(char c);
  Result Arguments(char c);
  Result Tags(char c);
  Result Python(char c);
  Result Next();                              // goes on to the next step, after a byte
  Result NextWith(std::string read, char c);  // the same, and gives it bytes that were read already, and `c`
  bool SetName(std::string_view name);
  void AddTagged();
  const FormatStep& step() const { return format_.call[step_]; }

  const ToolFormat& format_;
  const ToolNames& tools_;
  const bool bare_;
  size_t step_;
  const ToolNames::value_type* tool_ = nullptr;
  std::string id_, arguments_, leftover_;
  bool arguments_complete_ = false;
  // Of the current step.
  size_t matched_ = 0;  // of the step's text, or of a tag
  std::string text_;    // a name, an id, a key, a value between tags, or a call in Python
  std::optional<JsonScanner> scanner_;
  PythonCallScanner python_;
  Place place_ = Place::kOpen;
  TagPlace tag_place_ = TagPlace::kBetween;
  std::string key_;  // of the value that is read
  bool any_argument_ = false;
};

}  // namespace prefixd
