// The tools of a chat request: `tools`, `tool_choice` and `parallel_tool_calls`, and the older `functions`
// and `function_call`. Plain values; any thread.
#pragma once

#include <boost/json/array.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/api/request_fields.h"
#include "grammar/call_grammar.h"
#include "text/chat_template.h"
#include "text/output/output_parser.h"

namespace prefixd {

struct ToolRequest {
  boost::json::array shown;  // to the template: all functions, in the order of the request
  // Those that the answer may call; null: none, and what looks like a call is content.
  std::shared_ptr<const ToolNames> callable;
  // The functions of `callable`, where a grammar can say how they are called.
  std::vector<grammar::CalledFunction> called;
  bool forced = false;     // the answer must call one or more of them
  bool parallel = true;    // false: the answer ends with its first call
  bool functions = false;  // the older fields: the answer has one `function_call`
};

// The rows of the fields of ToolRequest.
void AddToolFields(FieldTable* table);

// Records errors in `fields`.
ToolRequest ReadTools(RequestFields& fields, const ApiContext& context);

// Fits tools and calls to the template and the format of the model.
//   1. With the format "generic", a template that shows no tools gets a system message with the tools; calls
//      and their results in the messages become text.
//   2. Ids of calls become nine letters and digits where the format has such ids, since its templates reject
//      others. Equal ids stay equal.
// Does nothing where the request has no tools, but for 2.
void FitTools(const ToolFormat* format, const ChatTemplate::Caps& caps, ChatTemplate::Input* input);

// Sets how calls of tools and reasoning are found in what the model writes.
// `format` is the name of a format, or "auto": as the chat template shows, and "generic" where it shows no
// tools. Without `reasoning` it is a part of the content. Requires the tokenizer, the chat template and the
// end tokens.
void SetOutputFormat(const std::string& format, bool reasoning, ApiContext* context);

}  // namespace prefixd
