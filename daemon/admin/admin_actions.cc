#include "daemon/admin/admin_actions.h"

#include <boost/json/serialize.hpp>
#include <charconv>

#include "base/log.h"
#include "daemon/api/middleware.h"

namespace prefixd {
namespace {

constexpr std::string_view kActionHeader = "x-prefixd-action";

ApiError Forbidden(std::string code, std::string message) {
  return {.status = 403, .type = "permission_error", .code = std::move(code), .message = std::move(message)};
}

void RespondDone(Exchange& exchange, const std::string& done, int status = 200) {
  const boost::json::object body = {{"schema", kAdminSchema}, {"done", done}};
  exchange.Respond(
      {.status = status, .headers = {{"Cache-Control", "no-store"}}, .body = boost::json::serialize(body)});
}

ApiError NotThere(std::string code, std::string message) {
  return {.status = 404, .code = std::move(code), .message = std::move(message)};
}

// What an action is about: the only member of its body.
struct Target {
  std::string name, value;
};
Parsed<Target> ReadTarget(const Exchange& exchange, std::initializer_list<std::string_view> names) {
  const Parsed<boost::json::object> body = ParseBody(exchange.request().body);
  if (!body.ok()) return body.error();
  if (body->size() == 1 && body->begin()->value().is_string()) {
    for (const std::string_view name : names) {
      if (body->begin()->key() == name)
        return Target{std::string(name), std::string(body->begin()->value().get_string())};
    }
  }
  std::string known;
  for (const std::string_view name : names)
    known += (known.empty() ? "'" : ", or '") + std::string(name) + "'";
  return BadParameter("", "The body has one member, a text: " + known + ".");
}

// The prefix of a row of the last look. Its node may have left the tree since.
Parsed<PrefixCache::PurgeScope> FindPrefix(const AdminContext& context, const std::string& key) {
  EngineView* const view = context.view();
  const std::optional<PrefixTable> table = view == nullptr ? std::nullopt : view->prefixes();
  for (const PrefixRow& row : table.value_or(PrefixTable()).rows) {
    if (ToHex(row.key) == key)
      return PrefixCache::PurgeScope{
          .kind = PrefixCache::PurgeScope::Kind::kPrefix, .node = row.node, .key = row.key};
  }
  return NotThere("unknown_prefix",
                  "The last answer of /admin/prefixes has no such prefix. Ask it, and send the whole key of "
                  "one of its rows.");
}

Parsed<PrefixCache::PurgeScope> ScopeOf(const AdminContext& context, const Target& target) {
  using Kind = PrefixCache::PurgeScope::Kind;
  if (target.name == "prefix") return FindPrefix(context, target.value);
  if (target.name == "model") {
    const std::string served = context.facts().model;
    if (target.value == served) return PrefixCache::PurgeScope{.kind = Kind::kAll};
    return NotThere("unknown_model", "This daemon serves '" + served +
                                         "'. What its disk cache has of another model goes with 'prefixd "
                                         "purge DIR --model', while no daemon uses the directory.");
  }
  PrefixCache::PurgeScope scope{.kind = Kind::kTenant};
  const char* const end = target.value.data() + target.value.size();
  const auto [parsed, error] = std::from_chars(target.value.data(), end, scope.tenant, 16);
  if (target.value.size() == kTenantDigits && error == std::errc() && parsed == end) return scope;
  return BadParameter("tenant", "A tenant is the hash of 16 digits that the documents name it by.");
}

constexpr double kTick = 0.02, kMostSeconds = 60;

void WaitForAction(const std::shared_ptr<Exchange>& exchange,
                   const std::shared_ptr<const CacheActions::Action>& action, int tries) {
  const std::optional<Result<std::string>> result = action->result();
  if (!result && tries > 0) {
    exchange->PostAfter(kTick, [exchange, action, tries] { WaitForAction(exchange, action, tries - 1); });
  } else if (!result) {
    RespondDone(*exchange, "It takes longer than a minute. The log says when it is done.", 202);
  } else if (result->ok()) {
    RespondDone(*exchange, **result);
  } else if (result->status().code() == Code::kNotFound) {
    RespondError(*exchange, NotThere("unknown_prefix", result->status().message()));
  } else {
    RespondError(*exchange, {.status = 503,
                             .type = "server_error",
                             .code = "disk_unavailable",
                             .message = result->status().message()});
  }
}

void StartWait(const std::shared_ptr<Exchange>& exchange,
               std::shared_ptr<const CacheActions::Action> action) {
  WaitForAction(exchange, action, static_cast<int>(kMostSeconds / kTick));
}

void PinOrUnpin(const AdminContext& context, const std::shared_ptr<Exchange>& exchange, bool pin) {
  CacheActions* const actions = context.actions();
  if (actions == nullptr) return RespondError(*exchange, *CheckServing(*context.api));
  const Parsed<Target> target = ReadTarget(*exchange, {"prefix"});
  if (!target.ok()) return RespondError(*exchange, target.error());
  const Parsed<PrefixCache::PurgeScope> prefix = FindPrefix(context, target->value);
  if (!prefix.ok()) return RespondError(*exchange, prefix.error());
  StartWait(exchange, actions->Pin(prefix->node, prefix->key, pin, exchange->request_id()));
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
  RespondDone(*exchange,
              "The daemon drains: new requests are answered 503, running ones end, then it stops.");
}

void HandlePurge(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  CacheActions* const actions = context.actions();
  if (actions == nullptr) return RespondError(*exchange, *CheckServing(*context.api));
  const Parsed<Target> target = ReadTarget(*exchange, {"prefix", "tenant", "model"});
  if (!target.ok()) return RespondError(*exchange, target.error());
  const Parsed<PrefixCache::PurgeScope> scope = ScopeOf(context, *target);
  if (!scope.ok()) return RespondError(*exchange, scope.error());
  auto action = actions->Purge(*scope, exchange->request_id());
  if (action != nullptr) return StartWait(exchange, std::move(action));
  RespondError(*exchange, {.status = 409,
                           .code = "purge_running",
                           .message = "Another purge is under way; try again when it has ended."});
}

void HandlePin(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  PinOrUnpin(context, exchange, /*pin=*/true);
}

void HandleUnpin(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  PinOrUnpin(context, exchange, /*pin=*/false);
}

}  // namespace prefixd
