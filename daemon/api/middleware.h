// Checks that run before a handler: API key, phase of the server, content type and JSON body.
//
// Threads: any; pure functions of request and context.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/api/context.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/request_fields.h"
#include "daemon/api/work.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// The key from "Authorization: Bearer" or from x-api-key; "" without a key.
std::string_view ApiKeyFromHeaders(const HttpRequest& request);
// Whether a key gives a right: &ApiKey::generate or &ApiKey::admin.
using KeyRight = bool ApiKey::*;
// 401 unless no keys are configured or the request has one of them; 403 when that lacks the right. Sets
// *caller, unless no key is required. The time does not depend on the bytes of a wrong key, only on its
// length.
std::optional<ApiError> CheckApiKey(const HttpRequest& request, const ApiContext& context,
                                    KeyRight right = &ApiKey::generate,
                                    std::shared_ptr<const Caller>* caller = nullptr);
// 503 unless the model is loaded and the daemon accepts requests.
std::optional<ApiError> CheckServing(const ApiContext& context);
// 415 when the content type is not JSON.
std::optional<ApiError> CheckContentType(const HttpRequest& request);

// 415 when the body is compressed or coded in another way.
std::optional<ApiError> CheckContentEncoding(const HttpRequest& request);

// Where the KV of a request belongs. Requests share cached prefixes only if they have the same cache_salt
// and, when keys are configured, keys of the same tenant; or if all of them ask for the public scope.
CacheNamespace NamespaceOf(const HttpRequest& request, const GenerationRequest& generation);

// Whose responses and remembered requests these are: the tenant of the key that they were made with. Without
// keys there is one owner.
std::string OwnerOf(const HttpRequest& request);
// The value of a parameter of a query; "" without one. Those that are read have no escapes.
std::string_view QueryValue(std::string_view query, std::string_view name);

// Whether key, content type and encoding allow a body. The answer to a request for which they do not is an
// error that needs no body.
bool WantsJsonBody(const HttpRequest& head, const ApiContext& context);

// Takes over the exchange, or returns the error to respond with. It must not do both.
// `work` has the bytes of the body's values, and gets those of what the handler makes of them. All are
// returned when the handler is done.
using JsonHandler =
    std::function<std::optional<ApiError>(std::shared_ptr<Exchange>, const boost::json::object&, Work& work)>;
// Checks key, phase, the requests of the tenant, content type, encoding and body in this order, takes over
// the `request_id` of the body,
// then calls `handler`. Bodies above kSmallBodyBytes are parsed and handled on a worker thread, so that other
// requests do not wait; those above the limit "large-body" by one worker (large_body_queue.h). Smaller ones
// that ask for a constraint are handled on a worker, too. The text of the body is freed after parsing.
Handler WithJsonBody(const ApiContext* context, JsonHandler handler);
// Checks the key only, and notes its caller in the exchange.
Handler WithApiKey(const ApiContext* context, Handler handler, KeyRight right = &ApiKey::generate);

}  // namespace prefixd
