// Api: what an API adds to the daemon, as one constant of its folder. routes.cc has the list of them.
// docs/HACKING.md has the recipe "An API".
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <optional>
#include <span>

#include "daemon/api/context.h"
#include "daemon/api/field_table.h"
#include "daemon/api/work.h"
#include "daemon/http/error_response.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// What /openapi.json says of a route, beside its method, path and errors.
struct RouteDoc {
  const char* summary;
  const char* answer = nullptr;             // schema of a 200, of openapi_schemas.h; null: there is none
  const FieldTable& (*fields)() = nullptr;  // of its body
  bool streams = false;                     // events, when the body asks for them
  const char* tail = "";                    // the name of what "*" in the pattern matches
  const char* parameters = "[]";            // of its query, as JSON
};

// A route without a body. Its handler responds through the exchange.
struct GetRoute {
  const char* pattern;
  bool open;  // no key is required
  void (*handle)(const ApiContext&, Exchange&);
  RouteDoc doc;
  const char* method = "GET";  // or "DELETE"
};

// A route with a JSON body. Its handler takes over the exchange, or returns the error to respond with.
struct PostRoute {
  const char* pattern;
  std::optional<ApiError> (*handle)(const ApiContext*, std::shared_ptr<Exchange>, const boost::json::object&,
                                    Work&);
  RouteDoc doc;
};

struct Api {
  const char* prefix = "";             // of the paths that have its error style
  const ErrorStyle* errors = nullptr;  // null: OpenAI's
  const char* error_schema = "Error";  // of openapi_schemas.h
  std::span<const GetRoute> gets = {};
  std::span<const PostRoute> posts = {};
};

}  // namespace prefixd
