// The OpenAPI 3.1 document of the daemon's routes: made of the tables of the APIs, so that a route or a field
// that is added there is in it. Plain functions; any thread.
#pragma once

#include <boost/json/object.hpp>
#include <span>
#include <string>

#include "daemon/api/api.h"

namespace prefixd {

// The answer of a RouteDoc that is text.
inline constexpr const char* kTextSchema = "Text";

boost::json::object OpenApiDocument(std::span<const Api* const> apis, const std::string& version);

// The schemas of answers, by name: openapi_schemas.cc.
boost::json::object AnswerSchemas();

}  // namespace prefixd
