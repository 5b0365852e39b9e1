// The items of the input of a response, as the messages of a chat. Plain functions; any thread.
#pragma once

#include <boost/json/array.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/api/conversation.h"
#include "daemon/api/request_fields.h"

namespace prefixd {

// Adds an item. `place` names it in errors: "input[3]".
//   1. A message is a turn of its own; the reasoning before it is a part of that turn.
//   2. A call joins the turn of the assistant before it.
std::optional<ApiError> AddInputItem(const boost::json::value& item, const std::string& place,
                                     Conversation* conversation);

// The items of an `input` that is a string or a list, each with a type. An input that is null has none.
Parsed<boost::json::array> ItemsOf(const boost::json::value* input);

}  // namespace prefixd
