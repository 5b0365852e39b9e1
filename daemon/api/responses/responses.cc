#include "daemon/api/responses/responses.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

#include "base/prng.h"
#include "daemon/api/generation.h"
#include "daemon/api/middleware.h"
#include "daemon/api/request_fields.h"
#include "daemon/api/responses/responses_format.h"
#include "daemon/api/responses/responses_request.h"
#include "daemon/api/responses/stored_items.h"
#include "daemon/api/tenant.h"
#include "daemon/http/router.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr const char* kStoredRoute = "/v1/responses/*";
constexpr const char* kItemsRoute = "/v1/responses/*/input_items";
constexpr const char* kCancelRoute = "/v1/responses/*/cancel";

constexpr const char* kItemsParameters = R"([
  {"name":"limit","in":"query","schema":{"type":"integer","minimum":1,"maximum":100,"default":20}},
  {"name":"order","in":"query","schema":{"enum":["asc","desc"],"default":"desc"}},
  {"name":"after","in":"query","schema":{"type":"string"}}])";

std::string Body(const ApiError& error, std::string_view) { return ErrorBody(error); }
std::string Event(const ApiError& error, std::string_view) { return ResponsesErrorEvent(error); }
constexpr ErrorStyle kErrors{Body, Event, ""};

// The server's own request id, or a number where the client chose the id: that could be any text, and equal
// ones would replace each other.
ResponseAuthor AuthorOf(const Exchange& exchange, const ApiContext& context, const json::object& body) {
  constexpr std::string_view kOwnPrefix = "req_";
  const std::string& id = exchange.request_id();
  const bool chosen = body.contains("request_id") || !exchange.request().header("x-request-id").empty();
  std::string suffix;
  if (!chosen && id.starts_with(kOwnPrefix)) {
    suffix = id.substr(kOwnPrefix.size());
  } else {
    suffix = "n" + std::to_string(SplitMix64((*context.seeds)++ ^ static_cast<uint64_t>(context.started)));
  }
  return {OwnerOf(exchange.request()), std::move(suffix)};
}

// Errors of the core name the messages that the input became.
std::optional<ApiError> OfInput(std::optional<ApiError> error) {
  if (error && error->param == "messages") error->param = "input";
  return error;
}

std::optional<ApiError> Fit(const ApiContext& context, int prompt_tokens, std::optional<int64_t> asked,
                            int* max_tokens) {
  return ResolveMaxTokens(context.context_length, prompt_tokens, asked, context.context_length, "input",
                          max_tokens);
}

std::optional<ApiError> HandleResponses(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                        const json::object& body, Work& work) {
  ResponseAuthor author = AuthorOf(*exchange, *context, body);
  Parsed<ResponsesRequest> request = ReadResponsesRequest(body, *context, author, /*counts=*/false, work);
  if (!request.ok()) return OfInput(request.error());
  ResponsesFormatOptions options{
      .metadata = MakeMetadata("", *exchange, *context, request->chat.generation.model),
      .suffix = author.suffix,
      .shown = std::move(request->shown),
      .input = std::move(request->input),
      .compared = nullptr,
      .generates = request->generates,
      .store = nullptr,
      .clock = context->clock};
  options.metadata.id = author.response_id();
  if (request->store) {
    options.store = [store = context->responses, owner = author.owner, id = author.response_id()](
                        StoredResponse response) { store->Put(owner, id, std::move(response)); };
  }
  const size_t repeated = json::serialize(options.shown).size() + options.input.size();
  const std::string compare_with = request->compare_with.value_or("");
  const auto format = [&](ChatRequest& asked, const InferencePrompt& prompt) {
    if (!compare_with.empty()) options.compared = prompt.record;
    return MakeResponsesFormat(std::move(options), asked.generation, *context->tokenizer);
  };
  return OfInput(StartChat(context, std::move(exchange), std::move(request->chat), work,
                           {.endpoint = "responses",
                            .response_id = author.response_id(),
                            .compare_with = compare_with,
                            .fit = Fit,
                            .format = format,
                            .repeated_bytes = repeated}));
}

std::optional<ApiError> HandleInputTokens(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                          const json::object& body, Work& work) {
  Parsed<ResponsesRequest> request =
      ReadResponsesRequest(body, *context, AuthorOf(*exchange, *context, body), /*counts=*/true, work);
  if (!request.ok()) return OfInput(request.error());
  Parsed<std::vector<TokenId>> tokens = ChatTokens(*context, std::move(request->chat), work);
  if (!tokens.ok()) return OfInput(tokens.error());
  exchange->Respond({.body = json::serialize(json::object{{"object", "response.input_tokens"},
                                                          {"input_tokens", tokens->size()}})});
  return std::nullopt;
}

// What "*" in the pattern of a route matches: the id of a response.
std::string IdIn(std::string_view pattern, const Exchange& exchange) {
  return std::string(Router::Tail(pattern, exchange.request().path));
}

struct ItemsQuery {
  size_t limit = 20;
  bool ascending = false;
  std::string_view after;
};

std::optional<ApiError> ReadItemsQuery(std::string_view query, ItemsQuery* read) {
  constexpr size_t kMost = 100;
  const std::string_view limit = QueryValue(query, "limit"), order = QueryValue(query, "order");
  const auto [end, error] = std::from_chars(limit.data(), limit.data() + limit.size(), read->limit);
  if (!limit.empty() && (error != std::errc() || end != limit.data() + limit.size() || read->limit < 1 ||
                         read->limit > kMost)) {
    return BadParameter("limit",
                        "'limit' must be an integer from 1 to 100, not '" + std::string(limit) + "'.",
                        "invalid_value");
  }
  if (!order.empty() && order != "asc" && order != "desc")
    return BadParameter("order", "'order' must be asc or desc, not '" + std::string(order) + "'.",
                        "invalid_value");
  read->ascending = order == "asc";
  read->after = QueryValue(query, "after");
  return std::nullopt;
}

// A page of the items, the latest first unless they ascend.
std::string ItemsPage(const json::array& list, const ItemsQuery& query) {
  std::vector<const json::value*> items;
  for (const json::value& item : list) items.push_back(&item);
  if (!query.ascending) std::reverse(items.begin(), items.end());
  const auto id_of = [](const json::value* item) -> const json::value& { return item->at("id"); };
  if (!query.after.empty()) {
    const auto found = std::find_if(items.begin(), items.end(), [&](const json::value* item) {
      return std::string_view(id_of(item).as_string()) == query.after;
    });
    if (found != items.end()) items.erase(items.begin(), found + 1);
  }
  const bool more = items.size() > query.limit;
  if (more) items.resize(query.limit);
  json::array data;
  for (const json::value* item : items) data.push_back(*item);
  json::object page = {{"object", "list"}, {"data", std::move(data)}, {"has_more", more}};
  page.emplace("first_id", items.empty() ? json::value(nullptr) : id_of(items.front()));
  page.emplace("last_id", items.empty() ? json::value(nullptr) : id_of(items.back()));
  return json::serialize(page);
}

void RespondItems(Exchange& exchange, const StoredResponse& stored) {
  ItemsQuery query;
  if (auto error = ReadItemsQuery(exchange.request().query, &query)) return RespondError(exchange, *error);
  Work work(exchange.budget(), ByteBudget::Use::kWork);
  json::array items;
  if (auto error = AppendItems(stored.input, "items", work, &items)) return RespondError(exchange, *error);
  exchange.Respond({.body = ItemsPage(items, query)});
}

void HandleStored(const ApiContext& context, Exchange& exchange) {
  const std::string id = IdIn(kStoredRoute, exchange);
  const auto stored = context.responses->Find(OwnerOf(exchange.request()), id);
  if (stored == nullptr) return RespondError(exchange, UnknownResponse(id));
  exchange.Respond({.body = stored->response});
}

void HandleItems(const ApiContext& context, Exchange& exchange) {
  const std::string id = IdIn(kItemsRoute, exchange);
  const auto stored = context.responses->Find(OwnerOf(exchange.request()), id);
  if (stored == nullptr) return RespondError(exchange, UnknownResponse(id));
  RespondItems(exchange, *stored);
}

void HandleDelete(const ApiContext& context, Exchange& exchange) {
  const std::string id = IdIn(kStoredRoute, exchange);
  if (!context.responses->Erase(OwnerOf(exchange.request()), id))
    return RespondError(exchange, UnknownResponse(id));
  exchange.Respond(
      {.body = json::serialize(json::object{{"id", id}, {"object", "response"}, {"deleted", true}})});
}

// What is stored is complete. Only responses in the background can be cancelled, and there are none.
void HandleCancel(const ApiContext& context, Exchange& exchange) {
  const std::string id = IdIn(kCancelRoute, exchange);
  if (context.responses->Find(OwnerOf(exchange.request()), id) == nullptr)
    return RespondError(exchange, UnknownResponse(id));
  RespondError(exchange, {.status = 400,
                          .code = "invalid_value",
                          .message = "The response '" + id + "' is complete and cannot be cancelled."});
}

void HandleCompact(const ApiContext&, Exchange& exchange) {
  RespondError(exchange, {.status = 404,
                          .code = "unknown_url",
                          .message = "This server does not compact conversations; send fewer items."});
}

constexpr PostRoute kPosts[] = {
    {"/v1/responses",
     HandleResponses,
     {.summary = "Makes a response", .answer = "Response", .fields = ResponsesFields, .streams = true}},
    {"/v1/responses/input_tokens",
     HandleInputTokens,
     {.summary = "Counts the tokens of an input", .answer = "InputTokens", .fields = ResponsesFields}},
};

constexpr GetRoute kGets[] = {
    {"/v1/responses/compact", false, HandleCompact, {.summary = "Refused by name"}, "POST"},
    {kItemsRoute,
     false,
     HandleItems,
     {.summary = "The items of a stored response's input",
      .answer = "ItemList",
      .tail = "response_id",
      .parameters = kItemsParameters}},
    {kStoredRoute,
     false,
     HandleStored,
     {.summary = "A stored response", .answer = "Response", .tail = "response_id"}},
    {kStoredRoute,
     false,
     HandleDelete,
     {.summary = "Forgets a stored response", .answer = "Deleted", .tail = "response_id"},
     "DELETE"},
    {kCancelRoute,
     false,
     HandleCancel,
     {.summary = "Refused: a stored response is complete", .tail = "response_id"},
     "POST"},
};

}  // namespace

constinit const Api kResponsesApi{
    .prefix = "/v1/responses", .errors = &kErrors, .gets = kGets, .posts = kPosts};

}  // namespace prefixd
