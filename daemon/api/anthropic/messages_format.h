// The answers of POST /v1/messages: a message of content blocks, or its events. See ResponseFormat.
#pragma once

#include <memory>

#include "daemon/api/response_format.h"

namespace prefixd {

struct PromptRecord;

struct MessagesFormatOptions {
  ResponseMetadata metadata;
  std::shared_ptr<const PromptRecord> compared;  // null: the request asks for no diagnostics
  bool cut = false;                              // the context leaves fewer tokens than the request asks for
};

std::unique_ptr<ResponseFormat> MakeMessagesFormat(MessagesFormatOptions options);

// Without the tokens of the answer: what a message has when it begins.
boost::json::object MessagesUsageJson(const TokenUsage& usage);

}  // namespace prefixd
