// Tools and output formats of APIs that have other names for them than OpenAI's chat: an API translates them
// to the fields of a chat, and errors are translated back. Plain functions; any thread.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <span>
#include <string_view>

#include "daemon/api/chat_request.h"
#include "daemon/api/context.h"

namespace prefixd {

struct FieldName {
  std::string_view chat, own;
};

// ReadToolsAndConstraint of `fields`, which has fields of a chat. In errors, now and while the request runs,
// the texts `chat` of `names` are replaced by their `own` names, in the order of the list.
std::optional<ApiError> ReadTranslated(const boost::json::object& fields, const ApiContext& context,
                                       std::span<const FieldName> names, ChatRequest* request);
ApiError WithOwnNames(ApiError error, std::span<const FieldName> names);

}  // namespace prefixd
