// What a client is told of a request and the cache: the document of /v1/cache/explain, and the diagnostics of
// OpenAI's and of Anthropic's API. Of other tenants it says nothing: what they have was never seen. Pure
// functions; any thread.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "daemon/api/context.h"
#include "daemon/api/explain/prompt_record.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// Compares a prompt with the response `compare_with` of its owner, or with the nearest one if it is empty.
// The comparison, if there is any, is in the record then.
void CompareWithEarlier(const ApiContext& context, std::string_view owner, std::string_view compare_with,
                        std::span<const TokenId> ids, PromptRecord* record);

// What the first sequence of a prompt reports with its first token. `ids` are those of the prompt.
void RecordMisses(const ApiContext& context, const RequestEvent& event, std::span<const TokenId> ids,
                  PromptRecord* record);

boost::json::object ExplanationJson(const PromptRecord& record);
// `prompt_cache_diagnostics` and `diagnostics.cache_miss_reason` of a request that has asked to be compared.
boost::json::object OpenAiDiagnostics(const PromptRecord& record);
boost::json::value AnthropicMissReason(const PromptRecord& record);

// GET /v1/cache/explain?response_id=ID
void HandleExplain(const ApiContext& context, Exchange& exchange);

}  // namespace prefixd
