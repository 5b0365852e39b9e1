// Tools and output formats of APIs that have other names for them than OpenAI's chat: an API translates them
// to the fields of a chat, and errors are translated back. Plain functions; any thread.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <span>
#include <string_view>

#include "daemon/api/chat_request.h"
#include "daemon/api/context.h"

namespace prefixd {

struct FieldName {
  std::string_view chat, own;
};

// Adds the field "tools" with what `translate` makes of each tool. Without that field it does nothing.
void TranslateTools(RequestFields& fields, boost::json::value (*translate)(const boost::json::value& tool),
                    boost::json::object* chat);
// A tool that somebody's server runs: it keeps its place in the list, and the model does not see it.
boost::json::object HiddenTool();

// ReadToolsAndConstraint of `fields`, which has fields of a chat. In errors, now and while the request runs,
// the texts `chat` of `names` are replaced by their `own` names, in the order of the list.
std::optional<ApiError> ReadTranslated(const boost::json::object& fields, const ApiContext& context,
                                       std::span<const FieldName> names, ChatRequest* request);
ApiError WithOwnNames(ApiError error, std::span<const FieldName> names);

}  // namespace prefixd
