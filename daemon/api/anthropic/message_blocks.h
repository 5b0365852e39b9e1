// The messages and the system prompt of a request to /v1/messages: blocks to the messages of a chat. Plain
// functions; any thread.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/api/request_fields.h"

namespace prefixd {

struct MessageList {
  boost::json::array messages;
  bool continues = false;  // the last message is the assistant's, and the answer continues it
};

// Reads `system` and `messages`.
//   1. Messages of one role that follow each other are one turn. The result of a tool is a message of its
//      own.
//   2. A system message after the first turn joins the turn of the user beside it, because most templates
//      accept a system message at the front only.
//   3. A system block that names the client's build is left out: it changes with every request, and no prefix
//      after it would be found in the cache.
Parsed<MessageList> ReadMessageList(const boost::json::object& body);

// Checks `cache_control` wherever it may stand. Sets *whole to the seconds of that of the request itself,
// which keeps the whole prompt.
std::optional<ApiError> CheckCacheControl(const boost::json::object& body, std::optional<double>* whole);

}  // namespace prefixd
