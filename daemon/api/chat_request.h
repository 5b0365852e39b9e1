// The body of POST /v1/chat/completions, and of the chat form of /tokenize: validated messages and the other
// inputs of the chat template. Plain values; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/api/generated_ids.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/prompt_marks.h"
#include "daemon/api/request_fields.h"
#include "daemon/api/work.h"
#include "grammar/call_grammar.h"
#include "text/chat_template.h"

namespace prefixd {

struct PromptRecord;

struct ChatPrompt {
  ChatTemplate::Input input;  // RenderChat sets the time
  PromptMarks marks;          // where it says that a reusable prefix ends
  bool continue_final_message = false;
  bool add_special_tokens = false;
};

struct ChatRequest {
  GenerationRequest generation;
  ChatPrompt prompt;
  std::vector<grammar::CalledFunction> called;  // what the answer may call, or must; see ToolRequest
  bool forced = false;
  std::string echo;  // precedes every choice: the last message, if it is the assistant's and `echo` is set
};

// The fields of POST /v1/chat/completions, and the rows of those that ReadChatPrompt reads.
const FieldTable& ChatFields();
void AddChatPromptFields(FieldTable* table);

// Reads the messages and template fields of a body. Errors name messages[i] or messages[i].content[j]. It
// reads tools for rendering; an endpoint that does not support calling them rejects them itself.
ChatPrompt ReadChatPrompt(RequestFields& fields);

// Takes the marks out of the messages and tools. Call it when both are read. Returns the error about one that
// is malformed.
inline std::optional<ApiError> TakeMarks(ChatPrompt* prompt) { return prompt->marks.Take(&prompt->input); }

// Where a prompt ends: before reasoning, if there is any, or in it, or after it.
enum class PromptEnd : uint8_t { kPlain, kInReasoning, kAfterReasoning };

Parsed<ChatRequest> ReadChatRequest(const boost::json::object& body, const ApiContext& context);

// Reads `tools`, `tool_choice`, `parallel_tool_calls` and the fields that constrain the answer, and sets how
// the answer is parsed. Call it when the other fields are right: compiling may take some milliseconds.
void ReadToolsAndConstraint(RequestFields& fields, const ApiContext& context, ChatRequest* request);

// Renders a conversation and encodes it. The control tokens of the template become their ids. Those that are
// spelled in the contents of messages, in tools or in other fields of the request are encoded as plain text,
// unless the context allows special tokens in contents. With `must_fit`, a text that cannot fit the context
// is an error. `work` has the bytes of the body that the prompt came from. Each member of `also` that is not
// null is set, or added to.
struct AlsoOfChat {
  PromptEnd* end = nullptr;
  PromptRecord* record = nullptr;
  std::vector<Breakpoint>* breakpoints = nullptr;  // those of the conversation
  // That of the answer; its scope is set before. The ids of earlier answers in that scope are reused.
  AnswerKey* answer = nullptr;
};
Parsed<std::vector<TokenId>> EncodeChat(const ApiContext& context, ChatPrompt prompt, bool must_fit,
                                        Work& work, const AlsoOfChat& also = {});
// Sets the grammar of a request whose answer may call functions. Compiling may take some milliseconds. Where
// nothing is forced and the schemas cannot be carried out, there is none, unless one of them is strict.
std::optional<ApiError> SetCallGrammar(const ApiContext& context, PromptEnd end, ChatRequest* request);
// Renders a conversation. What came from the request is marked. The text stays reserved in `work`.
Parsed<MarkedText> RenderChat(const ApiContext& context, ChatPrompt prompt, Work& work);

}  // namespace prefixd
