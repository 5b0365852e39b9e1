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

}  // namespace prefixd
