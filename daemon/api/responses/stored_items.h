// The items of stored responses, for requests that continue or name them. Plain functions; any thread.
#pragma once

#include <boost/json/array.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/api/request_fields.h"
#include "daemon/api/responses/response_store.h"
#include "daemon/api/work.h"

namespace prefixd {

// The error for a response that the owner has not, or not any more.
ApiError UnknownResponse(std::string_view id);

// Appends the array `member` of a text that was stored. Its memory is reserved in `work`.
std::optional<ApiError> AppendItems(const std::string& text, std::string_view member, Work& work,
                                    boost::json::array* items);
// Appends the items that a response was made from, and its output. Their memory is reserved in `work`.
std::optional<ApiError> AppendStored(ResponseStore& store, std::string_view owner, const std::string& id,
                                     Work& work, boost::json::array* items);
// Replaces every {"type":"item_reference","id"} by the item of a stored response.
std::optional<ApiError> ResolveReferences(ResponseStore& store, std::string_view owner, Work& work,
                                          boost::json::array* items);

// Items as they are stored: each has an id, and content that was a string is a list of parts.
boost::json::array NamedItems(boost::json::array items, std::string_view suffix);
// The id of an item. `type` is that of the item, `place` tells those of one response apart.
std::string ItemId(std::string_view type, std::string_view suffix, const std::string& place);

}  // namespace prefixd
