// What operators may do through the admin listener. An action is a POST with a body of JSON, its content
// type, and the header x-prefixd-action, which a browser sends to another origin only when that allows it;
// this listener allows nobody. So no page of another origin can act.
//
// Threads: any.
#pragma once

#include <memory>
#include <optional>

#include "daemon/admin/admin_routes.h"
#include "daemon/http/error_response.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// 403 or 415 for a request that a page of another origin could have sent.
std::optional<ApiError> CheckAction(const HttpRequest& request);

// /admin/drain: what SIGTERM does. 409 when it happens already, 503 while the model loads.
void HandleDrain(const AdminContext& context, const std::shared_ptr<Exchange>& exchange);
// /admin/purge: takes what the body names out of every tier, {"prefix": KEY}, {"tenant": HASH} or
// {"model": NAME}. A prefix is one of the last look at them. Answers when it is done, or after a minute with
// 202. 404 unknown_prefix or unknown_model, 409 purge_running while there is another one.
void HandlePurge(const AdminContext& context, const std::shared_ptr<Exchange>& exchange);
// /admin/pin and /admin/unpin: {"prefix": KEY}. 404 unknown_prefix.
void HandlePin(const AdminContext& context, const std::shared_ptr<Exchange>& exchange);
void HandleUnpin(const AdminContext& context, const std::shared_ptr<Exchange>& exchange);

}  // namespace prefixd
