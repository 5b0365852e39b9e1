#include "daemon/admin/admin_routes.h"

#include <boost/json/serialize.hpp>
#include <charconv>
#include <memory>
#include <utility>

#include "base/log.h"
#include "daemon/admin/admin_actions.h"
#include "daemon/admin/host_check.h"
#include "daemon/admin/page_files.h"
#include "daemon/api/middleware.h"
#include "daemon/api/request_log.h"
#include "daemon/api/routes.h"
#include "daemon/http/error_response.h"

namespace prefixd {
namespace {

namespace json = boost::json;

constexpr std::string_view kRequestRoute = "/admin/requests/*";
constexpr size_t kMostRows = 100;
// A look at the prefixes serves as long; a new one is waited for as long, then the last one is shown.
constexpr double kPrefixesSeconds = 5, kPrefixesWait = 0.15, kPrefixesTick = 0.01;

Moment Now(const AdminContext& context) {
  return {.seconds = context.api->clock->NowSeconds(), .unix_seconds = context.api->clock->UnixSeconds()};
}

void RespondJson(Exchange& exchange, const json::object& body, int status = 200) {
  exchange.Respond({.status = status,
                    .headers = {{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}},
                    .body = json::serialize(body)});
}

void HandleReady(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  json::object document = ReadyDocument(*context.api);
  document["schema"] = kAdminSchema;
  const bool ready = document["ready"].as_bool();
  RespondJson(*exchange, document, ready ? 200 : 503);
}

json::object StatusOf(const AdminContext& context, const std::optional<PrefixTable>& prefixes) {
  const AdminFacts facts = context.facts();
  return StatusDocument(facts, ReadyDocument(*context.api), context.rates(facts.engine), context.past(),
                        prefixes, Now(context));
}

void RespondStatus(const AdminContext& context, Exchange& exchange,
                   const std::optional<PrefixTable>& prefixes) {
  RespondJson(exchange, StatusOf(context, prefixes));
}

void RespondPrefixes(const AdminContext& context, Exchange& exchange,
                     const std::optional<PrefixTable>& prefixes) {
  RespondJson(exchange, PrefixesDocument(prefixes, context.facts(), Now(context)));
}

using RespondWithPrefixes = void (*)(const AdminContext&, Exchange&, const std::optional<PrefixTable>&);

// Responds when the prefixes of `asked` are there, or `tries` ticks later with what is there.
void WaitForPrefixes(const AdminContext& context, const std::shared_ptr<Exchange>& exchange,
                     RespondWithPrefixes respond, double asked, int tries) {
  EngineView* const view = context.view();
  const std::optional<PrefixTable> prefixes = view == nullptr ? std::nullopt : view->prefixes();
  if (view == nullptr || tries == 0 || (prefixes && prefixes->asked >= asked))
    return respond(context, *exchange, prefixes);
  exchange->PostAfter(kPrefixesTick, [&context, exchange, respond, asked, tries] {
    WaitForPrefixes(context, exchange, respond, asked, tries - 1);
  });
}

void AskForPrefixes(const AdminContext& context, const std::shared_ptr<Exchange>& exchange,
                    RespondWithPrefixes respond) {
  EngineView* const view = context.view();
  if (view == nullptr) return respond(context, *exchange, std::nullopt);
  const double now = context.api->clock->NowSeconds();
  const std::optional<PrefixTable> prefixes = view->prefixes();
  if (prefixes && prefixes->asked + kPrefixesSeconds > now) return respond(context, *exchange, prefixes);
  view->AskForPrefixes(now);
  WaitForPrefixes(context, exchange, respond, now, static_cast<int>(kPrefixesWait / kPrefixesTick));
}

void HandleStatus(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  AskForPrefixes(context, exchange, RespondStatus);
}

void HandlePrefixes(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  AskForPrefixes(context, exchange, RespondPrefixes);
}

void HandleEvents(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  context.streams->Start(exchange);
}

void HandleMisses(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  RespondJson(*exchange, MissesDocument(context.facts(), context.past(), Now(context)));
}

void RespondRequests(const AdminContext& context, Exchange& exchange, std::span<const RequestTrace> found) {
  RespondJson(exchange, RequestsDocument(found, context.facts().block_tokens, Now(context)));
}

void HandleRequests(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  constexpr std::string_view kLimit = "limit=";
  const std::string_view query = exchange->request().query;
  size_t limit = kMostRows;
  if (!query.empty()) {
    const std::string_view text = query.starts_with(kLimit) ? query.substr(kLimit.size()) : "";
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
    if (error != std::errc() || end != text.data() + text.size() || limit == 0 || limit > kMostRows) {
      return RespondError(
          *exchange, {.code = "invalid_value",
                      .param = "limit",
                      .message = "The query is 'limit=N', N from 1 to " + std::to_string(kMostRows) + "."});
    }
  }
  EngineView* const view = context.view();
  RespondRequests(context, *exchange, view == nullptr ? std::vector<RequestTrace>() : view->Requests(limit));
}

void HandleRequest(const AdminContext& context, const std::shared_ptr<Exchange>& exchange) {
  const std::string_view id = Router::Tail(kRequestRoute, exchange->request().path);
  EngineView* const view = context.view();
  const std::vector<RequestTrace> found = view == nullptr ? std::vector<RequestTrace>() : view->Find(id);
  if (!found.empty()) return RespondRequests(context, *exchange, found);
  RespondError(*exchange,
               {.status = 404,
                .code = "unknown_request",
                .message = "None of the last " + std::to_string(EngineView::kMostRequests) +
                           " requests that ended has this id. The id is the header x-request-id."});
}

// Only files of this listener may run, draw or be asked: no inline script, no other origin, no frame. Text of
// the daemon becomes nodes of the page, never markup.
constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'";

void RespondPageFile(const PageFile& file, Exchange& exchange) {
  exchange.Respond({.headers = {{"Cache-Control", "no-store"},
                                {"X-Content-Type-Options", "nosniff"},
                                {"Referrer-Policy", "no-referrer"},
                                {"Content-Security-Policy", std::string(kContentSecurityPolicy)}},
                    .content_type = std::string(file.content_type),
                    .body = std::string(file.text)});
}

struct AdminRoute {
  std::string_view pattern;
  enum Kind { kOpen, kData, kAction } kind;  // what needs no key; what needs one; and a POST that needs one
  void (*handle)(const AdminContext&, const std::shared_ptr<Exchange>&);
};
constexpr AdminRoute kRoutes[] = {
    {"/admin/ready", AdminRoute::kOpen, HandleReady},
    {"/admin/status", AdminRoute::kData, HandleStatus},
    {"/admin/requests", AdminRoute::kData, HandleRequests},
    {kRequestRoute, AdminRoute::kData, HandleRequest},
    {"/admin/events", AdminRoute::kData, HandleEvents},
    {"/admin/prefixes", AdminRoute::kData, HandlePrefixes},
    {"/admin/misses", AdminRoute::kData, HandleMisses},
    {"/admin/drain", AdminRoute::kAction, HandleDrain},
    {"/admin/purge", AdminRoute::kAction, HandlePurge},
    {"/admin/pin", AdminRoute::kAction, HandlePin},
    {"/admin/unpin", AdminRoute::kAction, HandleUnpin},
};

}  // namespace

std::string StatusText(const AdminContext& context) {
  return json::serialize(StatusOf(context, std::nullopt));
}

void AddAdminRoutes(Router* router, const AdminContext* context) {
  const bool local = context->listen.starts_with("unix:");
  const auto no_body = [](const HttpRequest&) { return false; };
  for (const PageFile& file : PageFiles()) {
    router->Add(
        "GET", std::string(file.path),
        [&file](const std::shared_ptr<Exchange>& exchange) { RespondPageFile(file, *exchange); }, no_body);
  }
  for (const AdminRoute& route : kRoutes) {
    const bool acts = route.kind == AdminRoute::kAction;
    Handler handler = [context, acts, handle = route.handle](const std::shared_ptr<Exchange>& exchange) {
      if (acts) {
        if (const auto error = CheckAction(exchange->request())) return RejectRequest(*exchange, *error);
      }
      handle(*context, exchange);
    };
    router->Add(acts ? "POST" : "GET", std::string(route.pattern),
                route.kind == AdminRoute::kOpen || local
                    ? std::move(handler)
                    : WithApiKey(context->api, std::move(handler), &ApiKey::admin),
                [context, acts, local](const HttpRequest& request) {
                  return acts && !CheckAction(request) &&
                         (local || !CheckApiKey(request, *context->api, &ApiKey::admin));
                });
  }
}

void HandleAdminRequest(const Router& router, const AdminContext& context,
                        std::shared_ptr<Exchange> exchange) {
  if (MayHaveHost(exchange->request().header("host"), context.listen))
    return router.Handle(std::move(exchange));
  Log(LogLevel::kWarning, "a request to the admin listener was refused for its Host",
      {{"request_id", exchange->request_id()}});
  RespondError(*exchange,
               {.status = 403,
                .code = "host_not_allowed",
                .message = "The Host of the request is neither an address, nor localhost, nor the name "
                           "in --admin-listen."});
}

}  // namespace prefixd
