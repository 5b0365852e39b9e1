// The log lines about requests: one for each, whether it reached the model or was refused before. They carry
// figures, names of fields and closed sets of words: never a text of the client's, of a prompt or of an
// answer, not in errors either. Any thread.
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
  int status = 0;  // of the answer; 499: the client went away
  size_t prompts = 0;
  int choices = 0;
  UsageFigures usage;
  PromptUsage sources;
  std::map<std::string, int> finish_reasons;  // of all sequences
  double queue_seconds = 0;                   // the longest wait of a sequence
  double first_token_seconds = 0;             // after the request came; 0: none came
  double decode_seconds = 0;                  // from the first token to the last
  double total_seconds = 0;
};

void LogRequest(const RequestRecord& record);
// Answers the error and logs it by status, code and field.
void Refuse(Exchange& exchange, const ApiError& error);

}  // namespace prefixd
