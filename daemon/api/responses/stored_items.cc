#include "daemon/api/responses/stored_items.h"

#include <boost/json.hpp>
#include <utility>

#include "daemon/api/verbatim_numbers.h"

namespace prefixd {

namespace {

namespace json = boost::json;

// "resp_SUFFIX" of an item "TYPE_SUFFIX_PLACE"; "" where the id has another form.
std::string ResponseOf(std::string_view item) {
  const size_t first = item.find('_'), last = item.rfind('_');
  if (first == std::string_view::npos || first == last) return "";
  return "resp_" + std::string(item.substr(first + 1, last - first - 1));
}

}  // namespace

ApiError UnknownResponse(std::string_view id) {
  return {
      .status = 404,
      .code = "response_not_found",
      .message = "The response '" + std::string(id) +
                 "' does not exist, or is not kept any more; this server keeps the latest ones in memory."};
}

std::optional<ApiError> AppendItems(const std::string& text, std::string_view member, Work& work,
                                    json::array* items) {
  WorkMemory memory(&work);
  const Parsed<json::object> parsed = ParseBody(text, &memory);
  if (memory.refused() > 0) return NoRoomError(work.budget(), memory.refused());
  const json::value* found = parsed.ok() ? parsed->if_contains(member) : nullptr;
  if (found == nullptr || !found->is_array()) {
    return BadParameter("previous_response_id",
                        "The stored response cannot be read; send its items as 'input'.",
                        "previous_response_not_found");
  }
  const size_t copies = text.size() * 8;  // of the values that stay: the items, and the messages made of them
  if (!work.TryGrow(copies)) return NoRoomError(work.budget(), work.bytes() + copies);
  for (const json::value& item : found->get_array()) items->emplace_back(item);
  return std::nullopt;
}

std::optional<ApiError> AppendStored(ResponseStore& store, std::string_view owner, const std::string& id,
                                     Work& work, json::array* items) {
  const auto stored = store.Find(owner, id);
  if (stored == nullptr) {
    ApiError error = UnknownResponse(id);
    error.status = 400;
    error.code = "previous_response_not_found";
    error.param = "previous_response_id";
    return error;
  }
  if (auto error = AppendItems(stored->input, "items", work, items)) return error;
  return AppendItems(stored->response, "output", work, items);
}

std::optional<ApiError> ResolveReferences(ResponseStore& store, std::string_view owner, Work& work,
                                          json::array* items) {
  std::string loaded;  // the response that `known` has the items of
  json::array known;
  for (size_t i = 0; i < items->size(); ++i) {
    json::object* item = (*items)[i].if_object();
    const json::value* type = item == nullptr ? nullptr : item->if_contains("type");
    if (type == nullptr || *type != "item_reference") continue;
    const json::value* id = item->if_contains("id");
    const std::string place = "input[" + std::to_string(i) + "].id";
    if (id == nullptr || !id->is_string())
      return BadParameter(place, "'" + place + "' must be a string.", "missing_required_parameter");
    const std::string response = ResponseOf(std::string_view(id->get_string()));
    if (response != loaded) {
      known.clear();
      if (store.Find(owner, response) != nullptr) {
        if (auto error = AppendStored(store, owner, response, work, &known)) return error;
      }
      loaded = response;
    }
    const json::value* found = nullptr;
    for (const json::value& one : known) {
      const json::value* name = one.as_object().if_contains("id");
      if (name != nullptr && *name == *id) found = &one;
    }
    if (found == nullptr)
      return BadParameter(place, "No stored response has the item " + QuoteJson(*id) + ".", "item_not_found");
    (*items)[i] = *found;
  }
  return std::nullopt;
}

std::string ItemId(std::string_view type, std::string_view suffix, const std::string& place) {
  const std::string_view prefix = type == "message"                ? "msg_"
                                  : type == "function_call"        ? "fc_"
                                  : type == "function_call_output" ? "fco_"
                                                                   : "rs_";
  return std::string(prefix) + std::string(suffix) + "_" + place;
}

json::array NamedItems(json::array items, std::string_view suffix) {
  for (size_t i = 0; i < items.size(); ++i) {
    items[i] = Unmarked(items[i]);
    json::object& item = items[i].as_object();
    const std::string type(item.at("type").as_string());
    if (json::value& id = item["id"]; !id.is_string()) id = ItemId(type, suffix, "i" + std::to_string(i));
    json::value* content = item.if_contains("content");
    if (type != "message" || content == nullptr || !content->is_string()) continue;
    const bool own = item.at("role") == "assistant";
    json::object part = {{"type", own ? "output_text" : "input_text"}, {"text", *content}};
    if (own) part.emplace("annotations", json::array());
    *content = json::array{std::move(part)};
  }
  return items;
}

}  // namespace prefixd
