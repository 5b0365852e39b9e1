// The log lines of requests: one line for each, whether it reached the model or was rejected before.
//
// Threads: any.
//
// Invariant: a line contains numbers, field names and words of closed sets. It never contains text of a
// prompt or of a response, not even in errors. The only text of the client is its request id (IsRequestId).
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "daemon/api/response_format.h"
#include "daemon/http/exchange.h"
#include "engine/request.h"

namespace prefixd {

struct RequestRecord {
  std::string_view request_id, endpoint;
  int status = 0;  // of the response; 499: the client disconnected
  size_t prompts = 0;
  int choices = 0;
  TokenUsage usage;
  PromptUsage sources;
  std::map<std::string, int> finish_reasons;  // counts over all sequences
  double queue_seconds = 0;                   // longest wait of a sequence
  double first_token_seconds = 0;             // from arrival to the first token; 0: no token
  double decode_seconds = 0;                  // from the first token to the last
  double total_seconds = 0;
};

void LogRequest(const RequestRecord& record);
// Responds with the error and logs its status, code and field.
void RejectRequest(Exchange& exchange, const ApiError& error);

}  // namespace prefixd
