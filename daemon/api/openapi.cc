#include "daemon/api/openapi.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>
#include <utility>

namespace prefixd {

namespace {

namespace json = boost::json;

json::object Object(std::string_view name, json::value value) {
  json::object object;
  object.emplace(name, std::move(value));
  return object;
}

json::object TypeSchema(const char* type) { return Object("type", type); }

json::object Reference(const std::string& name) {
  const std::string place = "#/components/schemas/" + name;
  return Object("$ref", json::string(place));
}

json::object Content(const char* type, json::object schema) {
  return Object(type, Object("schema", std::move(schema)));
}

json::object JsonContent(json::object schema) { return Content("application/json", std::move(schema)); }

json::object Answer(std::string_view description, json::object content) {
  json::object header = {{"required", true}, {"schema", TypeSchema("string")}};
  return {{"description", description},
          {"headers", Object("x-request-id", std::move(header))},
          {"content", std::move(content)}};
}

json::object Responses(const RouteDoc& doc, const char* error_schema, bool open) {
  json::object responses;
  if (doc.answer != nullptr && std::string_view(doc.answer) == kTextSchema) {
    responses.emplace("200", Answer("Text.", Content("text/plain", TypeSchema("string"))));
  } else if (doc.answer != nullptr) {
    json::object content = JsonContent(Reference(doc.answer));
    if (doc.streams) content.emplace("text/event-stream", Object("schema", TypeSchema("string")));
    responses.emplace("200", Answer("The answer.", std::move(content)));
  }
  responses.emplace("4XX",
                    Answer("The request is wrong, or too much.", JsonContent(Reference(error_schema))));
  // /health and /ready say in their own forms what is missing.
  responses.emplace("503", Answer("The server is loading, full or shutting down.",
                                  JsonContent(open ? json::object() : Reference(error_schema))));
  return responses;
}

// "/v1/responses/*/cancel" to "/v1/responses/{response_id}/cancel".
std::string PathOf(std::string pattern, const RouteDoc& doc) {
  const size_t star = pattern.find('*');
  if (star != std::string::npos) pattern.replace(star, 1, "{" + std::string(doc.tail) + "}");
  return pattern;
}

json::object Operation(const RouteDoc& doc, std::string_view pattern, const char* error_schema, bool open) {
  json::object operation = {{"summary", doc.summary}, {"responses", Responses(doc, error_schema, open)}};
  json::array parameters = json::parse(doc.parameters).as_array();
  if (pattern.find('*') != std::string_view::npos) {
    json::object text = {{"type", "string"}, {"minLength", 1}};
    parameters.push_back(
        json::object{{"name", doc.tail}, {"in", "path"}, {"required", true}, {"schema", std::move(text)}});
  }
  if (!parameters.empty()) operation.emplace("parameters", std::move(parameters));
  if (doc.fields != nullptr) {
    json::object body = {{"required", true}, {"content", JsonContent(doc.fields().Schema())}};
    operation.emplace("requestBody", std::move(body));
  }
  // Keys are needed where the operator has set some.
  json::array security = {json::object(), Object("bearer", json::array()), Object("key", json::array())};
  if (!open) operation.emplace("security", std::move(security));
  return operation;
}

void Add(std::string method, std::string_view pattern, const RouteDoc& doc, json::object operation,
         json::object* paths) {
  std::ranges::transform(method, method.begin(), [](unsigned char c) { return std::tolower(c); });
  json::value& path = (*paths)[PathOf(std::string(pattern), doc)];
  if (path.is_null()) path = json::object();
  path.as_object().emplace(method, std::move(operation));
}

}  // namespace

json::object OpenApiDocument(std::span<const Api* const> apis, const std::string& version) {
  json::object paths;
  for (const Api* api : apis) {
    for (const PostRoute& route : api->posts) {
      Add("POST", route.pattern, route.doc, Operation(route.doc, route.pattern, api->error_schema, false),
          &paths);
    }
    for (const GetRoute& route : api->gets) {
      Add(route.method, route.pattern, route.doc,
          Operation(route.doc, route.pattern, api->error_schema, route.open), &paths);
    }
  }
  json::object bearer = {{"type", "http"}, {"scheme", "bearer"}};
  json::object key = {{"type", "apiKey"}, {"in", "header"}, {"name", "x-api-key"}};
  json::object schemes = {{"bearer", std::move(bearer)}, {"key", std::move(key)}};
  json::object info = {{"title", "prefixd"},
                       {"version", version},
                       {"description",
                        "Paths below /v1 may leave it out. A body may have fields that are not listed; they "
                        "have no effect."}};
  json::object components = {{"schemas", AnswerSchemas()}, {"securitySchemes", std::move(schemes)}};
  return {{"openapi", "3.1.0"},
          {"info", std::move(info)},
          {"paths", std::move(paths)},
          {"components", std::move(components)}};
}

}  // namespace prefixd
