#include "daemon/admin/admin_actions.h"

#include <boost/json/serialize.hpp>

#include "base/log.h"
#include "daemon/api/middleware.h"

namespace prefixd {
namespace {

constexpr std::string_view kActionHeader = "x-prefixd-action";

ApiError Forbidden(std::string code, std::string message) {
  return {.status = 403, .type = "permission_error", .code = std::move(code), .message = std::move(message)};
}

}  // namespace

std::optional<ApiError> CheckAction(const HttpRequest& request) {
  const std::string_view origin = request.header("origin"), host = request.header("host");
  if (!origin.empty() && origin != "http://" + std::string(host)) {
    return Forbidden("origin_not_allowed",
                     "The Origin of the request is not this listener; only its own page may act.");
  }
  if (request.header(kActionHeader).empty()) {
    return Forbidden("action_header_required",
                     "An action needs the header '" + std::string(kActionHeader) + ": 1'.");
  }
  if (!request.header("content-type").empty()) return CheckContentType(request);
  return ApiError{.status = 415,
                  .code = "unsupported_media_type",
                  .message = "An action needs the content type application/json, and a body such as {}."};
}

void HandleDrain(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  const ServerPhase phase = context.api->state->phase();
  if (phase == ServerPhase::kLoading) return RespondError(*exchange, *CheckServing(*context.api));
  if (phase == ServerPhase::kDraining || context.counters->drains.exchange(true)) {
    return RespondError(*exchange, {.status = 409,
                                    .code = "already_draining",
                                    .message = "The daemon drains already; it ends by itself."});
  }
  Log(LogLevel::kInfo, "an operator asked to drain", {{"request_id", exchange->request_id()}});
  context.drain();
  const boost::json::object done = {
      {"schema", kAdminSchema},
      {"done", "The daemon drains: new requests are answered 503, running ones end, then it stops."}};
  exchange->Respond({.headers = {{"Cache-Control", "no-store"}}, .body = boost::json::serialize(done)});
}

}  // namespace prefixd
