// The body of POST /v1/completions. Plain values; any thread.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/request_fields.h"

namespace prefixd {

using PromptInput = std::variant<std::string, std::vector<TokenId>>;

struct CompletionRequest {
  GenerationRequest generation;
  std::vector<PromptInput> prompts;  // at least one
  bool echo = false;
  bool add_special_tokens = true;  // applies to text prompts
};

// The fields of POST /v1/completions.
const FieldTable& CompletionFields();

Parsed<CompletionRequest> ReadCompletionRequest(const boost::json::object& body, const ApiContext& context);

}  // namespace prefixd
