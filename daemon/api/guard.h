// What stands before a handler: is the key right, is the model there, is the body JSON. Pure functions of
// request and context.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/api/context.h"
#include "daemon/api/request_fields.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// The key that a request brings: Authorization: Bearer, or x-api-key. "" for none.
std::string_view PresentedKey(const HttpRequest& request);
// 401 unless no keys are configured or the right one is there. Takes the same time for every wrong key of a
// length.
std::optional<ApiError> CheckKey(const HttpRequest& request, const ApiContext& context);
// 503 unless the model is loaded and the daemon takes requests.
std::optional<ApiError> CheckServing(const ApiContext& context);
// 415 when the body says that it is something else than JSON.
std::optional<ApiError> CheckContentType(const HttpRequest& request);

// Whose cached prefixes a request may share: those of the same key, where keys are configured, and of the
// same cache_salt.
std::string TenantOf(const HttpRequest& request, const ApiContext& context, std::string_view cache_salt);

// Takes the exchange over, or gives the error that answers it.
using JsonHandler =
    std::function<std::optional<ApiError>(std::shared_ptr<Exchange>, const boost::json::object&)>;
// Key, phase, content type, body, in this order; then `handler`. A long body is parsed and handled on a
// worker thread, so that other requests do not wait for it. The text of a body is dropped as soon as it was parsed.
Handler WithJsonBody(const ApiContext* context, JsonHandler handler);
// Key only.
Handler WithKey(const ApiContext* context, Handler handler);

}  // namespace prefixd
