#include "daemon/api/middleware.h"

#include <algorithm>

#include "daemon/api/constraint_request.h"
#include "daemon/api/request_log.h"
#include "daemon/api/tenant.h"
#include "daemon/http/error_response.h"
#include "daemon/http/heap.h"
#include "daemon/http/request_head.h"
#include "daemon/http/server.h"

namespace prefixd {

std::string_view ApiKeyFromHeaders(const HttpRequest& request) {
  constexpr std::string_view kBearer = "bearer ";
  const std::string_view authorization = request.header("authorization");
  if (authorization.size() > kBearer.size() &&
      EqualsIgnoringCase(authorization.substr(0, kBearer.size()), kBearer)) {
    return authorization.substr(kBearer.size());
  }
  return request.header("x-api-key");
}

std::optional<ApiError> CheckApiKey(const HttpRequest& request, const ApiContext& context, KeyRight right,
                                    std::shared_ptr<const Caller>* caller) {
  if (context.api_keys.empty()) return std::nullopt;
  const std::string_view key = ApiKeyFromHeaders(request);
  const std::shared_ptr<const Caller> known = context.api_keys.Find(key);
  if (known && caller != nullptr) *caller = known;
  if (known && known->key.*right) return std::nullopt;
  if (known) {
    return ApiError{.status = 403,
                    .type = "permission_error",
                    .code = "forbidden",
                    .message = "The API key has no right to this: its entry in the key file lacks it."};
  }
  return ApiError{.status = 401,
                  .code = "invalid_api_key",
                  .message = key.empty()
                                 ? "This server requires an API key: send 'Authorization: Bearer KEY'."
                                 : "The API key is not valid for this server.",
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
                      .message = "The model is loading; try again soon.",
                      .retry_after = 2};
    case ServerPhase::kDraining:
      break;
  }
  return ShuttingDownError();
}

std::optional<ApiError> CheckContentType(const HttpRequest& request) {
  std::string_view type = request.header("content-type");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
  constexpr std::string_view kSuffix = "+json";
  const bool suffixed =
      type.size() > kSuffix.size() && EqualsIgnoringCase(type.substr(type.size() - kSuffix.size()), kSuffix);
  if (type.empty() || suffixed || EqualsIgnoringCase(type, "application/json")) return std::nullopt;
  return ApiError{
      .status = 415,
      .code = "unsupported_media_type",
      .message = "The content type '" + std::string(type) + "' is not supported; send application/json."};
}

std::optional<ApiError> CheckContentEncoding(const HttpRequest& request) {
  for (const auto& [name, value] : request.headers) {
    if (name != "content-encoding") continue;
    for (std::string_view rest = value; !rest.empty();) {
      const size_t comma = std::min(rest.find(','), rest.size());
      std::string_view coding = rest.substr(0, comma);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
      while (coding.starts_with(' ')) coding.remove_prefix(1);
      while (coding.ends_with(' ')) coding.remove_suffix(1);
      if (coding.empty() || EqualsIgnoringCase(coding, "identity")) continue;
      return ApiError{.status = 415,
                      .code = "unsupported_media_type",
                      .message = "The content encoding '" + std::string(coding) +
                                 "' of the body is not supported; send the body uncompressed, without "
                                 "Content-Encoding or with 'identity'.",
                      .headers = {{"Accept-Encoding", "identity"}}};
    }
  }
  return std::nullopt;
}

std::string OwnerOf(const HttpRequest& request) { return request.caller ? request.caller->tenant : ""; }

std::string_view QueryValue(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.size() > name.size() && pair.starts_with(name) && pair[name.size()] == '=')
      return pair.substr(name.size() + 1);
  }
  return "";
}

bool WantsJsonBody(const HttpRequest& head, const ApiContext& context) {
  return !CheckApiKey(head, context) && !CheckContentType(head) && !CheckContentEncoding(head);
}

CacheNamespace NamespaceOf(const HttpRequest& request, const GenerationRequest& generation) {
  if (!request.caller || generation.public_scope) return {.tenant = "", .salt = generation.cache_salt};
  return NamespaceOf(request.caller->key, generation.cache_salt);
}

Handler WithApiKey(const ApiContext* context, Handler handler, KeyRight right) {
  return [context, right, handler = std::move(handler)](std::shared_ptr<Exchange> exchange) {
    std::shared_ptr<const Caller> caller;
    if (auto error = CheckApiKey(exchange->request(), *context, right, &caller))
      return RejectRequest(*exchange, *error);
    exchange->SetCaller(std::move(caller));
    handler(std::move(exchange));
  };
}

namespace {

// Takes the request from those that the tenant may send.
std::optional<ApiError> TakeRequest(const ApiContext& context, Exchange& exchange) {
  const Caller* const caller = exchange.request().caller.get();
  if (caller == nullptr) return std::nullopt;
  const double now = context.clock->NowSeconds();
  std::optional<ApiError> error = caller->rates->TakeRequest(now);
  exchange.SetHeaders(caller->rates->Headers(now));
  if (error) context.answers->AddRefused(AnswerCounters::Rate::kRequests);
  return error;
}

constexpr size_t kLargeBodyBytes = Limit<size_t>("large-body");

// Takes over the id in the body. That of the header counts more: a proxy sets it, and uses it in its own log.
std::optional<ApiError> TakeRequestId(Exchange& exchange, const boost::json::object& body) {
  RequestFields fields(body);
  const std::optional<std::string> id = fields.String("request_id");
  if (fields.error()) return *fields.error();
  if (!id) return std::nullopt;
  if (!IsRequestId(*id)) {
    return BadParameter("request_id",
                        "'request_id' must have 1 to " + std::to_string(Limit("request-id-bytes")) +
                            " printable ASCII characters without blanks.",
                        "invalid_value");
  }
  if (!IsRequestId(exchange.request().header("x-request-id"))) exchange.SetRequestId(*id);
  return std::nullopt;
}

// The body of a request, and the memory of its values. It stays where it is.
struct JsonBody {
  explicit JsonBody(Exchange& exchange)
      : work(exchange.budget(), ByteBudget::Use::kWork),
        memory(&work),
        values(ParseBody(exchange.request().body, &memory)) {}

  Work work;
  WorkMemory memory;
  const Parsed<boost::json::object> values;
};

std::optional<ApiError> CheckBody(Exchange& exchange, JsonBody& body) {
  exchange.ReleaseBody();
  if (body.memory.refused() > 0) return NoRoomError(exchange.budget(), body.memory.refused());
  if (!body.values.ok()) return body.values.error();
  if (auto error = TakeRequestId(exchange, *body.values)) return error;
  const size_t copies = body.work.bytes();
  if (!body.work.TryGrow(copies)) return NoRoomError(exchange.budget(), 2 * copies);
  return std::nullopt;
}

void Handle(const std::shared_ptr<Exchange>& exchange, const JsonHandler& handler, JsonBody& body) {
  const std::optional<ApiError> error = handler(exchange, *body.values, body.work);
  if (error) RejectRequest(*exchange, *error);
}

void HandleBody(const std::shared_ptr<Exchange>& exchange, const JsonHandler& handler) {
  JsonBody body(*exchange);
  if (const auto error = CheckBody(*exchange, body)) return RejectRequest(*exchange, *error);
  Handle(exchange, handler, body);
}

// Parses on this thread, which is an io thread. Compiling a format may take longer than it may be held.
// Returns false when the queue of the workers is full.
bool HandleSmallBody(const std::shared_ptr<Exchange>& exchange, const JsonHandler& handler) {
  const auto body = std::make_shared<JsonBody>(*exchange);
  if (const auto error = CheckBody(*exchange, *body)) {
    RejectRequest(*exchange, *error);
  } else if (AsksForConstraint(*body->values)) {
    return exchange->PostWork([exchange, body, &handler] { Handle(exchange, handler, *body); });
  } else {
    Handle(exchange, handler, *body);
  }
  return true;
}

// Returns false when the queue of the workers is full.
bool PostBody(const ApiContext& context, const std::shared_ptr<Exchange>& exchange,
              const JsonHandler& handler) {
  if (exchange->request().body.size() <= kLargeBodyBytes)
    return exchange->PostWork([exchange, &handler] { HandleBody(exchange, handler); });
  return context.large_bodies->Submit(*exchange, [exchange, &handler] {
    HandleBody(exchange, handler);
    TrimHeap();
  });
}

}  // namespace

Handler WithJsonBody(const ApiContext* context, JsonHandler handler) {
  return WithApiKey(context, [context, handler = std::move(handler)](std::shared_ptr<Exchange> exchange) {
    std::optional<ApiError> error = CheckServing(*context);
    if (!error) error = TakeRequest(*context, *exchange);
    if (!error) error = CheckContentType(exchange->request());
    if (!error) error = CheckContentEncoding(exchange->request());
    if (error) return RejectRequest(*exchange, *error);
    // An io thread parses and tokenizes this much in a few milliseconds.
    const bool small = exchange->request().body.size() <= kSmallBodyBytes;
    if (small ? HandleSmallBody(exchange, handler) : PostBody(*context, exchange, handler)) return;
    RejectRequest(*exchange, {.status = 503,
                              .type = "server_error",
                              .code = "overloaded",
                              .message = "Too many large requests are waiting; try again later.",
                              .retry_after = 1});
  });
}

}  // namespace prefixd
