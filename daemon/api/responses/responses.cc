#include "daemon/api/responses/responses.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "base/prng.h"
#include "daemon/api/generation.h"
#include "daemon/api/middleware.h"
#include "daemon/api/responses/responses_format.h"
#include "daemon/api/responses/responses_request.h"
#include "daemon/api/responses/stored_items.h"
#include "daemon/http/router.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr std::string_view kStoredRoute = "/v1/responses/*";

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
  return {OwnerOf(exchange.request(), context), std::move(suffix)};
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
  Parsed<size_t> tokens = CountChatTokens(*context, std::move(request->chat), work);
  if (!tokens.ok()) return OfInput(tokens.error());
  exchange->Respond({.body = json::serialize(
                         json::object{{"object", "response.input_tokens"}, {"input_tokens", *tokens}})});
  return std::nullopt;
}

// "ID" or "ID/REST" of the path.
std::pair<std::string, std::string_view> StoredPath(const Exchange& exchange) {
  std::string_view tail = Router::Tail(kStoredRoute, exchange.request().path);
  if (tail.ends_with('/')) tail.remove_suffix(1);
  const size_t slash = std::min(tail.find('/'), tail.size());
  return {std::string(tail.substr(0, slash)), tail.substr(std::min(slash + 1, tail.size()))};
}

void RefusePath(Exchange& exchange) {
  RespondError(exchange, {.status = 404,
                          .code = "unknown_url",
                          .message = "Unknown request URL: " + exchange.request().method + " " +
                                     exchange.request().path + "."});
}

// A page of the items, the latest first unless `order` is "asc".
std::string ItemsPage(const json::array& list, std::string_view query) {
  std::vector<const json::value*> items;
  for (const json::value& item : list) items.push_back(&item);
  if (QueryValue(query, "order") != "asc") std::reverse(items.begin(), items.end());
  const auto id_of = [](const json::value* item) -> const json::value& { return item->at("id"); };
  if (const std::string_view after = QueryValue(query, "after"); !after.empty()) {
    const auto found = std::find_if(items.begin(), items.end(), [&](const json::value* item) {
      return std::string_view(id_of(item).as_string()) == after;
    });
    if (found != items.end()) items.erase(items.begin(), found + 1);
  }
  constexpr size_t kDefault = 20, kMost = 100;
  const std::string limit(QueryValue(query, "limit"));
  const size_t asked = limit.empty() ? kDefault : std::strtoul(limit.c_str(), nullptr, 10);
  const bool more = items.size() > std::clamp<size_t>(asked, 1, kMost);
  if (more) items.resize(std::clamp<size_t>(asked, 1, kMost));
  json::array data;
  for (const json::value* item : items) data.push_back(*item);
  json::object page = {{"object", "list"}, {"data", std::move(data)}, {"has_more", more}};
  page.emplace("first_id", items.empty() ? json::value(nullptr) : id_of(items.front()));
  page.emplace("last_id", items.empty() ? json::value(nullptr) : id_of(items.back()));
  return json::serialize(page);
}

void RespondItems(Exchange& exchange, const StoredResponse& stored) {
  Work work(exchange.budget(), ByteBudget::Use::kWork);
  json::array items;
  if (auto error = AppendItems(stored.input, "items", work, &items)) return RespondError(exchange, *error);
  exchange.Respond({.body = ItemsPage(items, exchange.request().query)});
}

void HandleStored(const ApiContext& context, Exchange& exchange) {
  const auto [id, rest] = StoredPath(exchange);
  if (!rest.empty() && rest != "input_items") return RefusePath(exchange);
  const auto stored = context.responses->Find(OwnerOf(exchange.request(), context), id);
  if (stored == nullptr) return RespondError(exchange, UnknownResponse(id));
  if (!rest.empty()) return RespondItems(exchange, *stored);
  exchange.Respond({.body = stored->response});
}

void HandleDelete(const ApiContext& context, Exchange& exchange) {
  const auto [id, rest] = StoredPath(exchange);
  if (!rest.empty()) return RefusePath(exchange);
  if (!context.responses->Erase(OwnerOf(exchange.request(), context), id))
    return RespondError(exchange, UnknownResponse(id));
  exchange.Respond(
      {.body = json::serialize(json::object{{"id", id}, {"object", "response"}, {"deleted", true}})});
}

// What is stored is complete. Only responses in the background can be cancelled, and there are none.
void HandleCancel(const ApiContext& context, Exchange& exchange) {
  const auto [id, rest] = StoredPath(exchange);
  if (rest != "cancel") return RefusePath(exchange);
  if (context.responses->Find(OwnerOf(exchange.request(), context), id) == nullptr)
    return RespondError(exchange, UnknownResponse(id));
  RespondError(exchange, {.status = 400,
                          .code = "invalid_value",
                          .message = "The response '" + id + "' is complete and cannot be cancelled."});
}

constexpr PostRoute kPosts[] = {
    {"/v1/responses", HandleResponses},
    {"/v1/responses/input_tokens", HandleInputTokens},
};

constexpr GetRoute kGets[] = {
    {"/v1/responses/*", false, HandleStored},
    {"/v1/responses/*", false, HandleDelete, "DELETE"},
    {"/v1/responses/*", false, HandleCancel, "POST"},
};

}  // namespace

constinit const Api kResponsesApi{
    .prefix = "/v1/responses", .errors = &kErrors, .gets = kGets, .posts = kPosts};

}  // namespace prefixd
