// The body of POST /v1/chat/completions (and of the chat form of /tokenize): messages that were looked
// through, and what goes with them to the template. Plain values; any thread.
#pragma once

#include <string>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/request_fields.h"
#include "text/chat_template.h"

namespace prefixd {

struct ChatPrompt {
  ChatTemplate::Input input;  // without the time
  bool continue_final_message = false;
  bool add_special_tokens = false;
};

struct ChatRequest {
  GenerationRequest generation;
  ChatPrompt prompt;
  std::string
      echo;  // what stands before every answer: the last message, if it is the assistant's and was asked for
};

// The messages and template fields of a body. Errors name messages[i] or messages[i].content[j]. Tools are
// those to be rendered; an endpoint that cannot have them called refuses them itself.
ChatPrompt ReadChatPrompt(Fields& fields);

Parsed<ChatRequest> ReadChatRequest(const boost::json::object& body, const ApiContext& context);

// The tokens of a conversation: rendered, then encoded with special tokens as such. A text that cannot fit is
// an error where `must_fit`.
Parsed<std::vector<TokenId>> EncodeChat(const ApiContext& context, ChatPrompt prompt, bool must_fit);
// The rendered text.
Parsed<std::string> RenderChat(const ApiContext& context, ChatPrompt prompt);

}  // namespace prefixd
