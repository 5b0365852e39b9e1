// The body of POST /v1/responses and /v1/responses/input_tokens, read into the request that all APIs share.
//
// Fields that other APIs have and this one lacks (`stop`, `min_p`, `cache_salt`, ...) are read as there.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>

#include "daemon/api/chat_request.h"
#include "daemon/api/context.h"
#include "daemon/api/work.h"

namespace prefixd {

// Whose response is made. `suffix` is what its id, and those of its items, have in common.
struct ResponseAuthor {
  std::string owner, suffix;
  std::string response_id() const { return "resp_" + suffix; }
};

struct ResponsesRequest {
  ChatRequest chat;
  boost::json::object shown;  // the members of the response that repeat the request
  std::string input;          // StoredResponse::input; empty unless the response is stored
  std::optional<std::string> compare_with;  // prompt_cache_options.comparison_response_id
  bool store = true;
  bool generates = true;  // false: the prompt is computed, and the response has no output
};

// `counts`: the tokens are only counted. Reads stored responses; what that takes is reserved in `work`. Any
// thread.
Parsed<ResponsesRequest> ReadResponsesRequest(const boost::json::object& body, const ApiContext& context,
                                              const ResponseAuthor& author, bool counts, Work& work);

}  // namespace prefixd
