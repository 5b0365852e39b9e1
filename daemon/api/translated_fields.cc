#include "daemon/api/translated_fields.h"

#include <string>
#include <utility>

namespace prefixd {

namespace json = boost::json;

namespace {

void ReplaceAll(std::string_view from, std::string_view to, std::string* text) {
  for (size_t at = text->find(from); at != std::string::npos; at = text->find(from, at + to.size()))
    text->replace(at, from.size(), to);
}

}  // namespace

void TranslateTools(RequestFields& fields, json::value (*translate)(const json::value& tool),
                    json::object* chat) {
  const json::array* tools = fields.Array("tools");
  if (tools == nullptr) return;
  json::array& translated = chat->emplace("tools", json::array()).first->value().get_array();
  for (const json::value& tool : *tools) translated.push_back(translate(tool));
}

json::object HiddenTool() { return {{"type", "server_tool"}}; }

ApiError WithOwnNames(ApiError error, std::span<const FieldName> names) {
  const std::string before = error.param;
  for (const FieldName& name : names) ReplaceAll(name.chat, name.own, &error.param);
  if (before == error.param) return error;
  // A message quotes the path; what it quotes beside may be text of the client.
  const std::string quoted = "'" + before + "'";
  const size_t at = error.message.find(quoted);
  if (at != std::string::npos) error.message.replace(at, quoted.size(), "'" + error.param + "'");
  return error;
}

std::optional<ApiError> ReadTranslated(const json::object& object, const ApiContext& context,
                                       std::span<const FieldName> names, ChatRequest* request) {
  RequestFields fields(object);
  ReadToolsAndConstraint(fields, context, request);
  if (fields.error()) return WithOwnNames(*fields.error(), names);
  std::string& field = request->generation.constraint_field;
  for (const FieldName& name : names) ReplaceAll(name.chat, name.own, &field);
  return std::nullopt;
}

}  // namespace prefixd
