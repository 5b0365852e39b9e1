#include "daemon/api/guard.h"

#include "daemon/api/request_log.h"
#include "daemon/http/error_response.h"
#include "daemon/http/request_head.h"
#include "daemon/http/server.h"

namespace prefixd {

namespace {

// Looks at every byte, whatever it finds. Only the length can be told from the time.
bool EqualInConstantTime(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  return *static_cast<volatile unsigned char*>(&difference) == 0;
}

}  // namespace

std::string_view PresentedKey(const HttpRequest& request) {
  constexpr std::string_view kBearer = "bearer ";
  const std::string_view authorization = request.header("authorization");
  if (authorization.size() > kBearer.size() &&
      EqualsIgnoringCase(authorization.substr(0, kBearer.size()), kBearer)) {
    return authorization.substr(kBearer.size());
  }
  return request.header("x-api-key");
}

std::optional<ApiError> CheckKey(const HttpRequest& request, const ApiContext& context) {
  if (context.api_keys.empty()) return std::nullopt;
  const std::string_view key = PresentedKey(request);
  bool known = false;
  for (const std::string& allowed : context.api_keys) known |= EqualInConstantTime(key, allowed);
  if (known) return std::nullopt;
  return ApiError{.status = 401,
                  .code = "invalid_api_key",
                  .message = key.empty() ? "This server needs an API key: send 'Authorization: Bearer KEY'."
                                         : "The API key is not one of this server's.",
                  .headers = {{"WWW-Authenticate", "Bearer"}}};
}

std::optional<ApiError> CheckServing(const ApiContext& context) {
  switch (context.state->phase()) {
    case ServerPhase::kServing:
      return std::nullopt;
    case ServerPhase::kLoading:
      return ApiError{.status = 503,
                      .type = "server_error",
                      .code = "overloaded",
                      .message = "The model is being loaded; try again soon.",
                      .retry_after = 2};
    case ServerPhase::kDraining:
      break;
  }
  return ApiError{.status = 503,
                  .type = "server_error",
                  .code = "overloaded",
                  .message = "The server is shutting down; try another one.",
                  .retry_after = 5};
}

std::optional<ApiError> CheckContentType(const HttpRequest& request) {
  std::string_view type = request.header("content-type");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  constexpr std::string_view kSuffix = "+json";
  const bool suffixed =
      type.size() > kSuffix.size() && EqualsIgnoringCase(type.substr(type.size() - kSuffix.size()), kSuffix);
  if (type.empty() || suffixed || EqualsIgnoringCase(type, "application/json")) return std::nullopt;
  return ApiError{
      .status = 415,
      .code = "unsupported_media_type",
      .message = "The content type '" + std::string(type) + "' is not supported; send application/json."};
}

std::string TenantOf(const HttpRequest& request, const ApiContext& context, std::string_view cache_salt) {
  const std::string_view principal = context.api_keys.empty() ? std::string_view() : PresentedKey(request);
  if (principal.empty()) return std::string(cache_salt);
  // The length keeps key and salt apart, whatever bytes they hold.
  return std::to_string(principal.size()) + ":" + std::string(principal) + std::string(cache_salt);
}

Handler WithKey(const ApiContext* context, Handler handler) {
  return [context, handler = std::move(handler)](std::shared_ptr<Exchange> exchange) {
    if (auto error = CheckKey(exchange->request(), *context)) return Refuse(*exchange, *error);
    handler(std::move(exchange));
  };
}

namespace {

void HandleBody(const std::shared_ptr<Exchange>& exchange, const JsonHandler& handler) {
  const Parsed<boost::json::object> body = ParseBody(exchange->request().body);
  exchange->DropBody();
  const std::optional<ApiError> error = body.ok() ? handler(exchange, *body) : body.error();
  if (error) Refuse(*exchange, *error);
}

}  // namespace

Handler WithJsonBody(const ApiContext* context, JsonHandler handler) {
  return WithKey(context, [context, handler = std::move(handler)](std::shared_ptr<Exchange> exchange) {
    std::optional<ApiError> error = CheckServing(*context);
    if (!error) error = CheckContentType(exchange->request());
    if (error) return Refuse(*exchange, *error);
    // An io thread parses and tokenises this much in some milliseconds.
    if (exchange->request().body.size() <= kSmallBodyBytes) return HandleBody(exchange, handler);
    if (exchange->PostWork([exchange, &handler] { HandleBody(exchange, handler); })) return;
    Refuse(*exchange, {.status = 503,
                       .type = "server_error",
                       .code = "overloaded",
                       .message = "Too many long requests wait to be read; try again later.",
                       .retry_after = 1});
  });
}

}  // namespace prefixd
