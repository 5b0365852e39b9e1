// The answers of POST /v1/responses: a response with its items, or its events. See ResponseFormat.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <string>

#include "daemon/api/response_format.h"
#include "daemon/api/responses/response_store.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

struct PromptRecord;

struct ResponsesFormatOptions {
  ResponseMetadata metadata;
  std::string suffix;         // of the ids of items
  boost::json::object shown;  // what the response repeats of the request
  std::string input;          // StoredResponse::input
  std::shared_ptr<const PromptRecord> compared;  // null: the request does not ask to be compared
  bool generates = true;
  // Gets the response when it is complete; may be empty.
  std::function<void(StoredResponse response)> store;
  const Clock* clock = nullptr;
};

// The tokenizer outlives the format.
std::unique_ptr<ResponseFormat> MakeResponsesFormat(ResponsesFormatOptions options,
                                                    const GenerationRequest& request,
                                                    const Tokenizer& tokenizer);

// The event that ends a stream, without a number: the last one before it may not be known.
std::string ResponsesErrorEvent(const ApiError& error);

}  // namespace prefixd
