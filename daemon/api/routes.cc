#include "daemon/api/routes.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "daemon/api/anthropic/anthropic.h"
#include "daemon/api/api.h"
#include "daemon/api/chat_request.h"
#include "daemon/api/completion_request.h"
#include "daemon/api/explain/explanation.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/middleware.h"
#include "daemon/api/openai.h"
#include "daemon/api/openapi.h"
#include "daemon/api/responses/responses.h"
#include "daemon/api/tokenize_routes.h"
#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr std::string_view kModelRoute = "/v1/models/*";

void RespondJson(Exchange& exchange, const json::object& body, int status = 200) {
  exchange.Respond({.status = status, .body = json::serialize(body)});
}

json::object ModelJson(const std::string& name, const ApiContext& context) {
  json::object model = {{"id", name},
                        {"object", "model"},
                        {"created", context.started},
                        {"owned_by", "prefixd"},
                        {"root", context.model_names.front()},
                        {"parent", nullptr},
                        {"permission", json::array()}};
  if (context.state->phase() != ServerPhase::kLoading) model.emplace("max_model_len", context.context_length);
  return model;
}

void HandleModels(const ApiContext& context, Exchange& exchange) {
  json::array data;
  for (const std::string& name : context.model_names) data.push_back(ModelJson(name, context));
  RespondJson(exchange, {{"object", "list"}, {"data", std::move(data)}});
}

void HandleModel(const ApiContext& context, Exchange& exchange) {
  const std::string name(Router::Tail(kModelRoute, exchange.request().path));
  if (auto error = CheckModel(name, context)) return RespondError(exchange, *error);
  RespondJson(exchange, ModelJson(name, context));
}

void HandleHealth(const ApiContext& context, Exchange& exchange) {
  if (context.state->phase() != ServerPhase::kLoading) return RespondJson(exchange, {{"status", "ok"}});
  HttpResponse response{.status = 503, .headers = {{"Retry-After", "2"}}};
  response.body = json::serialize(
      json::object{{"error", {{"code", 503}, {"message", "Loading model"}, {"type", "unavailable_error"}}}});
  exchange.Respond(std::move(response));
}

void HandleReady(const ApiContext& context, Exchange& exchange) {
  const json::object document = ReadyDocument(context);
  RespondJson(exchange, document, document.at("ready").as_bool() ? 200 : 503);
}

// Without a key, too: then with less.
void HandleMetrics(const ApiContext& context, Exchange& exchange) {
  const bool operators = !CheckApiKey(exchange.request(), context, &ApiKey::admin);
  exchange.Respond({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                    .body = context.metrics(exchange.budget().stats(), operators)});
}

// As vLLM: an object of data-parallel ranks, of which a worker has the one 0; empty without events.
void HandleKvEventSources(const ApiContext& context, Exchange& exchange) {
  json::object ranks;
  if (context.state->phase() != ServerPhase::kLoading && context.kv_events) {
    const KvEventSource& source = *context.kv_events;
    const json::value replay =
        source.replay_endpoint.empty() ? json::value(nullptr) : json::value(source.replay_endpoint);
    ranks["0"] = {{"enable_kv_cache_events", true},  {"publisher", "zmq"},
                  {"endpoint", source.endpoint},     {"replay_endpoint", replay},
                  {"buffer_steps", source.buffered}, {"hwm", source.unread},
                  {"max_queue_size", source.queued}, {"topic", source.topic}};
  }
  RespondJson(exchange, ranks);
}

// Routes of OpenAI's API that a client may try. The name tells it that the server is the right one.
void HandleRefused(const ApiContext&, Exchange& exchange) {
  const std::string& path = exchange.request().path;
  RespondError(exchange, {.status = 404,
                          .code = "unknown_url",
                          .message = "This server generates text only; it has no embeddings, rankings, "
                                     "moderations, images or audio, and so no route " +
                                     path + "."});
}

void HandleOpenApi(const ApiContext& context, Exchange& exchange);

constexpr RouteDoc kRefused{.summary = "Refused by name"};
constexpr RouteDoc kRefusedBelow{.summary = "Refused by name", .tail = "path"};

constexpr GetRoute kGetRoutes[] = {
    {"/v1/health", true, HandleHealth, {.summary = "Whether the model is loaded", .answer = "Health"}},
    {"/ready", true, HandleReady, {.summary = "Whether requests are served", .answer = "Ready"}},
    {"/metrics", true, HandleMetrics, {.summary = "Counters for Prometheus", .answer = kTextSchema}},
    {"/v1/models", false, HandleModels, {.summary = "The names of the model", .answer = "ModelList"}},
    {kModelRoute.data(), false, HandleModel, {.summary = "A model", .answer = "Model", .tail = "model"}},
    {"/version",
     false,
     [](const ApiContext& context, Exchange& exchange) {
       RespondJson(exchange, {{"version", context.version}});
     },
     {.summary = "The version of the daemon", .answer = "Version"}},
    {"/kv_event_sources",
     false,
     HandleKvEventSources,
     {.summary = "Where KV events are published", .answer = "KvEventSources"}},
    {"/v1/cache/explain",
     false,
     HandleExplain,
     {.summary = "Why a prompt missed the cache",
      .answer = "Any",
      .parameters = R"([{"name":"response_id","in":"query","required":true,"schema":{"type":"string"}}])"}},
    {"/v1/openapi.json", true, HandleOpenApi, {.summary = "This document", .answer = "Any"}},
    {"/v1/embeddings", false, HandleRefused, kRefused, "POST"},
    {"/v1/rerank", false, HandleRefused, kRefused, "POST"},
    {"/v1/moderations", false, HandleRefused, kRefused, "POST"},
    {"/v1/images/*", false, HandleRefused, kRefusedBelow, "POST"},
    {"/v1/audio/*", false, HandleRefused, kRefusedBelow, "POST"},
};

constexpr PostRoute kPostRoutes[] = {
    {"/v1/chat/completions",
     HandleChatCompletions,
     {.summary = "Answers a conversation",
      .answer = "ChatCompletion",
      .fields = ChatFields,
      .streams = true}},
    {"/v1/completions",
     HandleCompletions,
     {.summary = "Continues a text", .answer = "Completion", .fields = CompletionFields, .streams = true}},
    {"/v1/chat/completions/render",
     HandleChatRender,
     {.summary = "The token ids of a conversation", .answer = "Rendered", .fields = ChatFields}},
    {"/v1/completions/render",
     HandleCompletionsRender,
     {.summary = "The token ids of prompts", .answer = "RenderedList", .fields = CompletionFields}},
    {"/v1/tokenize",
     HandleTokenize,
     {.summary = "Text or messages to token ids", .answer = "Tokens", .fields = TokenizeFields}},
    {"/v1/detokenize",
     HandleDetokenize,
     {.summary = "Token ids to text", .answer = "Detokenized", .fields = DetokenizeFields}},
    {"/v1/apply-template",
     HandleApplyTemplate,
     {.summary = "The prompt of a conversation", .answer = "Prompt", .fields = ApplyTemplateFields}},
};

// The routes above are one more, without an error style of their own.
constexpr Api kOwnApi{.gets = kGetRoutes, .posts = kPostRoutes};
constexpr const Api* kApis[] = {&kOwnApi, &kAnthropicApi, &kResponsesApi};

void HandleOpenApi(const ApiContext& context, Exchange& exchange) {
  RespondJson(exchange, OpenApiDocument(kApis, context.version));
}

void AddApi(Router* router, const ApiContext* context, const Api& api) {
  if (api.errors != nullptr) router->AddErrorStyle(api.prefix, api.errors);
  for (const PostRoute& route : api.posts) {
    router->Add(
        "POST", route.pattern,
        WithJsonBody(context, [context, handle = route.handle](
                                  std::shared_ptr<Exchange> exchange, const json::object& body,
                                  Work& work) { return handle(context, std::move(exchange), body, work); }),
        [context](const HttpRequest& head) { return WantsJsonBody(head, *context); });
  }
  for (const GetRoute& route : api.gets) {
    Handler handler = [context, handle = route.handle](std::shared_ptr<Exchange> exchange) {
      handle(*context, *exchange);
    };
    router->Add(route.method, route.pattern,
                route.open ? std::move(handler) : WithApiKey(context, std::move(handler)),
                [](const HttpRequest&) { return false; });
  }
}

}  // namespace

json::object ReadyDocument(const ApiContext& context) {
  const ServerPhase phase = context.state->phase();
  const bool ready = phase == ServerPhase::kServing;
  json::object checks = {{"model", phase == ServerPhase::kLoading ? "loading" : "ok"},
                         {"device", "ok"},
                         {"host", "off"},
                         {"disk", "off"}};
  bool degraded = false;
  for (const auto& [part, state] : context.checks ? context.checks() : ReadyChecks()) {
    checks[part] = state;
    degraded = degraded || state.starts_with("failed");
  }
  const std::string_view state = ready && degraded ? "degraded" : ServerPhaseName(phase);
  return {{"ready", ready}, {"state", std::string(state)}, {"checks", std::move(checks)}};
}

void AddApiRoutes(Router* router, const ApiContext* context) {
  PREFIXD_CHECK(!context->model_names.empty() && context->state != nullptr && context->clock != nullptr &&
                context->seeds != nullptr)
      << "ApiContext is incomplete";
  for (const Api* api : kApis) AddApi(router, context, *api);
}

}  // namespace prefixd
