#include "daemon/api/field_table.h"

#include <boost/json.hpp>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "daemon/api/unsupported_fields.h"

namespace prefixd {

namespace {

namespace json = boost::json;

json::object ParseSchema(std::string_view text) { return json::parse(text).as_object(); }

// The bounds of 64 bits exactly, which no double is.
json::value Bound(double bound) {
  if (bound >= 0x1p63) return std::numeric_limits<int64_t>::max();
  if (bound == std::floor(bound) && std::abs(bound) <= 0x1p63) return static_cast<int64_t>(bound);
  return bound;
}

json::object RangeSchema(std::string_view type, double low, double high) {
  return {{"type", type}, {"minimum", Bound(low)}, {"maximum", Bound(high)}};
}

// The values with which an unsupported field means nothing, beside null.
json::object AllowedSchema(AllowedValue allowed) {
  switch (allowed) {
    case AllowedValue::kNone:
      return {{"type", "null"}};
    case AllowedValue::kFalse:
      return {{"const", false}};
    case AllowedValue::kEmpty:
      return ParseSchema(R"({"enum":[[],{},""]})");
    case AllowedValue::kOff:
      return {{"type", "number"}, {"maximum", 0}};
    case AllowedValue::kOne:
      return {{"const", 1}};
  }
  return {};
}

}  // namespace

FieldTable& FieldTable::Add(std::string_view name, FieldRow row) {
  PREFIXD_CHECK(rows_.emplace(name, std::move(row)).second) << name << " is in the table twice";
  return *this;
}

FieldTable& FieldTable::Bool(std::string_view name) {
  return Add(name, {.type = FieldType::kBoolean, .schema = {{"type", "boolean"}}});
}

FieldTable& FieldTable::Integer(std::string_view name, double low, double high) {
  return Add(name, {FieldType::kInteger, low, high, RangeSchema("integer", low, high)});
}

FieldTable& FieldTable::Number(std::string_view name, double low, double high) {
  return Add(name, {FieldType::kNumber, low, high, RangeSchema("number", low, high)});
}

FieldTable& FieldTable::String(std::string_view name) {
  return Add(name, {.type = FieldType::kString, .schema = {{"type", "string"}}});
}

FieldTable& FieldTable::Array(std::string_view name, std::string_view items) {
  return Add(name, {.type = FieldType::kArray, .schema = {{"type", "array"}, {"items", ParseSchema(items)}}});
}

FieldTable& FieldTable::Object(std::string_view name, std::string_view members) {
  json::object schema = {{"type", "object"}};
  if (json::object properties = ParseSchema(members); !properties.empty())
    schema.emplace("properties", std::move(properties));
  return Add(name, {.type = FieldType::kObject, .schema = std::move(schema)});
}

FieldTable& FieldTable::Any(std::string_view name, std::string_view schema) {
  return Add(name, {.schema = ParseSchema(schema)});
}

FieldTable& FieldTable::Ignored(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) Add(name, {.schema = {{"description", "Has no effect."}}});
  return *this;
}

FieldTable& FieldTable::Unsupported(std::span<const UnsupportedField> fields) {
  for (const UnsupportedField& field : fields) {
    json::object schema = AllowedSchema(field.allowed);
    schema.emplace("description", "Not supported: " + std::string(field.feature) + ".");
    rows_[std::string(field.name)].schema = std::move(schema);
  }
  return *this;
}

FieldTable& FieldTable::Required(std::string_view name) {
  const auto found = rows_.find(name);
  PREFIXD_CHECK(found != rows_.end()) << name;
  found->second.required = true;
  return *this;
}

std::optional<std::string> FieldTable::FaultOf(std::string_view name, FieldType type, double low,
                                               double high) const {
  const std::string field = "'" + std::string(name) + "'";
  const auto found = rows_.find(name);
  if (found == rows_.end()) return field + " is read and has no row in the FieldTable of the route";
  const FieldRow& row = found->second;
  if (type != FieldType::kAny && type != row.type) return field + " is not read as the type of its row";
  const bool ranged = type == FieldType::kInteger || type == FieldType::kNumber;
  if (ranged && (low < row.low || high > row.high)) return field + " is read with a range beyond its row's";
  return std::nullopt;
}

json::object FieldTable::Schema() const {
  json::object properties;
  json::array required;
  for (const auto& [name, row] : rows_) {
    json::object schema = row.schema;
    if (row.required) {
      required.emplace_back(name);
    } else if (schema.contains("type") || schema.contains("const") || schema.contains("enum") ||
               schema.contains("anyOf")) {
      json::value description = schema.contains("description") ? schema["description"] : nullptr;
      schema.erase("description");
      json::array either = {std::move(schema), json::object{{"type", "null"}}};
      schema = json::object{{"anyOf", std::move(either)}};
      if (!description.is_null()) schema.emplace("description", std::move(description));
    }
    properties.emplace(name, std::move(schema));
  }
  json::object body = {{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) body.emplace("required", std::move(required));
  return body;
}

}  // namespace prefixd
