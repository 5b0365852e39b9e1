#include "grammar/json_schema.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>

#include "base/json_fields.h"
#include "grammar/json_schema_reader.h"

namespace prefixd::grammar {
namespace {

namespace json = boost::json;

// What says nothing of which values are allowed.
constexpr std::string_view kAnnotations[] = {"title",         "description",      "default",      "examples",
                                             "example",       "$schema",          "$id",          "id",
                                             "$comment",      "deprecated",       "readOnly",     "writeOnly",
                                             "$defs",         "definitions",      "externalDocs", "xml",
                                             "discriminator", "propertyOrdering", "$vocabulary"};
constexpr std::string_view kSupported[] = {"type",
                                           "properties",
                                           "required",
                                           "additionalProperties",
                                           "items",
                                           "prefixItems",
                                           "minItems",
                                           "maxItems",
                                           "minLength",
                                           "maxLength",
                                           "pattern",
                                           "format",
                                           "minimum",
                                           "maximum",
                                           "exclusiveMinimum",
                                           "exclusiveMaximum",
                                           "multipleOf",
                                           "enum",
                                           "const",
                                           "anyOf",
                                           "oneOf",
                                           "allOf",
                                           "$ref",
                                           "nullable"};
// The type that a keyword is about, for schemas without a type.
struct About {
  std::string_view keyword, type;
};
constexpr About kAbout[] = {
    {"properties", "object"}, {"required", "object"},         {"additionalProperties", "object"},
    {"items", "array"},       {"prefixItems", "array"},       {"minItems", "array"},
    {"maxItems", "array"},    {"minLength", "string"},        {"maxLength", "string"},
    {"pattern", "string"},    {"format", "string"},           {"minimum", "number"},
    {"maximum", "number"},    {"exclusiveMinimum", "number"}, {"exclusiveMaximum", "number"},
    {"multipleOf", "number"}};

template <size_t n>
bool Has(const std::string_view (&names)[n], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool IsOfType(const json::value& value, std::string_view type) {
  if (type == "integer") {
    if (!value.is_double()) return value.is_number();
    const double number = value.get_double();
    return std::isfinite(number) && number == std::trunc(number);
  }
  return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
         (type == "string" && value.is_string()) || (type == "number" && value.is_number()) ||
         (type == "boolean" && value.is_bool()) || (type == "null" && value.is_null());
}

// A value of an enum. It nests no deeper than JSON is parsed.
std::string TextOf(const json::value& value, JsonSpelling spelling) {
  const std::string_view space = spelling == JsonSpelling::kAny ? "" : " ";
  std::string text;
  const auto add = [&](std::string_view key, const json::value& one) {
    if (!text.empty()) text.append(",").append(space);
    text.append(key).append(TextOf(one, spelling));
  };
  if (value.is_array()) {
    for (const json::value& one : value.get_array()) add("", one);
    return "[" + text + "]";
  }
  if (value.is_object()) {
    for (const auto& [name, one] : value.get_object())
      add(JsonText::Quoted(std::string_view(name)).append(":").append(space), one);
    return "{" + text + "}";
  }
  if (value.is_string()) return JsonText::Quoted(std::string_view(value.get_string()));
  if (value.is_double()) return NumberText(value.get_double());
  text = json::serialize(value);
  if (spelling == JsonSpelling::kPython && !value.is_number()) {
    text = value.is_null() ? "None" : value.get_bool() ? "True" : "False";
  }
  return text;
}

constexpr size_t kMostShown = 200, kMostPath = 1000;

// Whether a keyword is about the type of a value, or about values of one type.
bool SaysMoreThanValues(std::string_view keyword) {
  return std::ranges::any_of(kAbout, [&](const About& about) { return about.keyword == keyword; });
}

// Whether `additionalProperties` of one schema, or its `items`, is about parts that the other one names: then
// a schema with the keywords of both allows something else.
bool IsAboutPartsOf(const json::object& schema, const json::object& other) {
  const auto lacks = [&](std::string_view keyword, std::string_view parts) {
    return schema.contains(keyword) && other.contains(parts) && !schema.contains(parts);
  };
  const json::value* others = schema.if_contains("additionalProperties");
  return lacks("items", "prefixItems") ||
         (others != nullptr && *others != true && lacks("additionalProperties", "properties"));
}

// The names of both lists of `required`, or nothing if one is no list.
std::optional<json::array> RequiredByBoth(const json::value& a, const json::value& b) {
  if (!a.is_array() || !b.is_array()) return std::nullopt;
  json::array names = a.get_array();
  for (const json::value& name : b.get_array())
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  return names;
}

// The text of a fragment of a URI, whose bytes may be written as % and two digits.
std::string Unescaped(std::string_view fragment) {
  std::string text;
  for (size_t i = 0; i < fragment.size(); ++i) {
    uint8_t byte = 0;
    const char* const digits = fragment.data() + i + 1;
    if (fragment[i] == '%' && fragment.size() - i > 2 &&
        std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      text += static_cast<char>(byte);
      i += 2;
    } else {
      text += fragment[i];
    }
  }
  return text;
}

// About what a copy of a value takes. Values are nested as deep as the reader of the body allows.
size_t BytesOf(const json::value& value) {
  size_t bytes = sizeof(value);
  if (value.is_string()) bytes += value.get_string().size();
  if (value.is_array())
    for (const json::value& one : value.get_array()) bytes += BytesOf(one);
  if (value.is_object())
    for (const auto& [key, one] : value.get_object()) bytes += 32 + key.size() + BytesOf(one);
  return bytes;
}

}  // namespace

std::string SchemaReader::Shortened(std::string_view text) {
  if (text.size() <= kMostShown) return std::string(text);
  size_t end = kMostShown;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

// Of a long path its beginning is enough.
SchemaReader::Place SchemaReader::Place::At(std::string_view key) const {
  if (path.size() > kMostPath) return {path, depth + 1};
  return {path + "/" + Shortened(key), depth + 1};
}

Status SchemaReader::CountCopy(const Object& part, const Place& place) {
  size_t bytes = 0;
  for (const auto& [key, value] : part) bytes += 32 + key.size() + BytesOf(value);
  return Count(&copied_bytes_, bytes, limits_.copied_bytes, place,
               "bytes in parts that hold in several places");
}

Status SchemaReader::Count(size_t* counter, size_t more, size_t most, const Place& place,
                           std::string_view what) {
  *counter += more;
  if (*counter <= most) return Status::Ok();
  return ResourceExhausted(place.path + ": the schema has more than " + std::to_string(most) + " " +
                           std::string(what));
}

// A keyword, or a value of one, that changes what is allowed in a way that the grammar cannot say.
Status SchemaReader::NotSupported(const Place& place, std::string_view keyword) {
  if (options_.strict) return Unsupported(place.path + ": " + std::string(keyword) + " is not supported");
  if (ignored_.size() < limits_.ignored) ignored_.emplace(keyword);
  return Status::Ok();
}

Status SchemaReader::CheckKeywords(const Object& schema, const Place& place) {
  for (const auto& [key, value] : schema) {
    const std::string_view name = key;
    if (Has(kAnnotations, name) || Has(kSupported, name) || name.starts_with("x-")) continue;
    PREFIXD_RETURN_IF_ERROR(NotSupported(place, "'" + Shortened(name) + "'"));
  }
  return Status::Ok();
}

Result<SchemaRead> SchemaReader::Read() {
  const RuleId root = to_.AddRule("schema");
  rules_[&root_] = root;
  unread_.push_back({&root_, {"#"}});
  while (!unread_.empty()) {
    const auto [schema, place] = unread_.front();
    unread_.pop_front();
    PREFIXD_ASSIGN_OR_RETURN(const ExprId body, ReadSchema(*schema, place));
    to_.Define(rules_.at(schema), body);
  }
  return SchemaRead{root, {ignored_.begin(), ignored_.end()}};
}

Result<ExprId> SchemaReader::ReadSchema(const Value& schema, const Place& place) {
  PREFIXD_RETURN_IF_ERROR(Count(&schemas_, 1, limits_.schemas, place, "schemas"));
  if (to_.overflow()) return ResourceExhausted(place.path + ": the schema is too large");
  if (place.depth > 2 * limits_.depth)
    return ResourceExhausted(place.path + ": the schema is nested too deeply");
  if (schema.is_bool()) return schema.get_bool() ? json_.Value() : to_.Nothing();
  if (!schema.is_object()) return Error(place, "a schema must be an object or a boolean");
  return ReadObjectSchema(schema.get_object(), place);
}

Result<ExprId> SchemaReader::ReadObjectSchema(const Object& schema, const Place& place) {
  PREFIXD_RETURN_IF_ERROR(CheckKeywords(schema, place));
  const Value* nullable = schema.if_contains("nullable");
  if (nullable != nullptr && *nullable == true) {
    PREFIXD_RETURN_IF_ERROR(CountCopy(schema, place));
    Object without = schema;
    without.erase("nullable");
    PREFIXD_ASSIGN_OR_RETURN(const ExprId value, ReadMerged(std::move(without), place));
    return to_.Choice({value, json_.Null()});
  }
  if (schema.contains("$ref")) return ReadReference(schema, place);
  for (const std::string_view keyword : {"allOf", "anyOf", "oneOf"})
    if (schema.contains(keyword)) return ReadBranches(schema, keyword, place);
  if (schema.contains("enum") || schema.contains("const")) return ReadEnum(schema, place);
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<std::string> types, TypesOf(schema, place));
  if (types.empty()) return json_.Value();
  std::vector<ExprId> choice;
  for (const std::string& type : types) {
    PREFIXD_ASSIGN_OR_RETURN(const ExprId one, ReadType(schema, type, place));
    choice.push_back(one);
  }
  return choice.size() == 1 ? choice[0] : to_.Choice(std::move(choice));
}

Result<ExprId> SchemaReader::ReadMerged(Object merged, const Place& place) {
  return ReadSchema(Value(std::move(merged)), {place.path, place.depth + 1});
}

// A schema that has the keywords of both. Where that allows something else than both do, a keyword is not
// supported. `keyword` is what the first one stands beside.
Result<ExprId> SchemaReader::ReadBoth(Object merged, const Object& other, std::string_view keyword,
                                      const Place& place) {
  PREFIXD_RETURN_IF_ERROR(CountCopy(other, place));
  const std::string beside = " here and beside '" + std::string(keyword) + "'";
  if (IsAboutPartsOf(merged, other) || IsAboutPartsOf(other, merged))
    PREFIXD_RETURN_IF_ERROR(NotSupported(place, "the parts of a value" + beside));
  for (const auto& [key, value] : other) {
    const Value* const had = merged.if_contains(key);
    if (had == nullptr || *had == value || Has(kAnnotations, std::string_view(key))) {
      merged[key] = value;
      continue;
    }
    std::optional<json::array> required;
    if (key == "required") required = RequiredByBoth(*had, value);
    if (!required) PREFIXD_RETURN_IF_ERROR(NotSupported(place, "'" + std::string(key) + "'" + beside));
    merged[key] = required ? Value(*std::move(required)) : value;
  }
  return ReadMerged(std::move(merged), place);
}

// What a local reference points to: "#", or "#/" and keys.
Result<const json::value*> SchemaReader::Find(std::string_view reference, const Place& place) const {
  if (!reference.starts_with('#'))
    return Unsupported(place.path + ": '$ref' to '" + Shortened(reference) +
                       "' is not supported: only references within the schema, which begin with '#'");
  boost::system::error_code failed;
  const Value* found = root_.find_pointer(Unescaped(reference.substr(1)), failed);
  if (failed || found == nullptr)
    return Error(place, "'$ref' to '" + Shortened(reference) + "', which is not there");
  return found;
}

Result<ExprId> SchemaReader::ReadReference(const Object& schema, const Place& place) {
  const Value& reference = schema.at("$ref");
  if (!reference.is_string()) return Error(place, "'$ref' must be a string");
  const std::string_view name = reference.get_string();
  PREFIXD_ASSIGN_OR_RETURN(const Value* const to, Find(name, place));
  const bool has_siblings = std::any_of(schema.begin(), schema.end(), [](const auto& member) {
    return member.key() != "$ref" && !Has(kAnnotations, std::string_view(member.key()));
  });
  if (has_siblings && to->is_object()) {
    PREFIXD_RETURN_IF_ERROR(CountCopy(schema, place));
    Object beside = schema;
    beside.erase("$ref");
    return ReadBoth(std::move(beside), to->get_object(), "$ref", place);
  }
  const auto [at, is_new] = rules_.try_emplace(to, 0);
  if (is_new) {
    at->second = to_.AddRule(Shortened(name));
    unread_.push_back({to, {Shortened(name)}});
  }
  return to_.Rule(at->second);
}

// allOf, anyOf or oneOf. What stands beside it holds in each branch.
Result<ExprId> SchemaReader::ReadBranches(const Object& schema, std::string_view keyword,
                                          const Place& place) {
  const Value& list = schema.at(keyword);
  if (!list.is_array() || list.get_array().empty())
    return Error(place, "'" + std::string(keyword) + "' must be an array of schemas");
  const json::array& branches = list.get_array();
  if (keyword == "allOf" && branches.size() > 1)
    PREFIXD_RETURN_IF_ERROR(NotSupported(place, "'allOf' of more than one schema"));
  Object beside;
  for (const auto& [key, value] : schema)
    if (key != keyword && !Has(kAnnotations, std::string_view(key))) beside[key] = value;
  std::vector<ExprId> choice;
  for (size_t i = 0; i < branches.size() && (keyword != "allOf" || i == 0); ++i) {
    const Place inner = place.At(std::string(keyword) + "/" + std::to_string(i));
    if (beside.empty() || !branches[i].is_object()) {
      PREFIXD_ASSIGN_OR_RETURN(const ExprId one, ReadSchema(branches[i], inner));
      choice.push_back(one);
      continue;
    }
    PREFIXD_RETURN_IF_ERROR(CountCopy(beside, inner));
    PREFIXD_ASSIGN_OR_RETURN(const ExprId one, ReadBoth(beside, branches[i].get_object(), keyword, inner));
    choice.push_back(one);
  }
  return choice.size() == 1 ? choice[0] : to_.Choice(std::move(choice));
}

Result<ExprId> SchemaReader::ReadEnum(const Object& schema, const Place& place) {
  std::span<const Value> values;
  if (const Value* one = schema.if_contains("const")) {
    values = {one, 1};
  } else if (!schema.at("enum").is_array()) {
    return Error(place, "'enum' must be an array");
  } else {
    values = schema.at("enum").get_array();
  }
  PREFIXD_RETURN_IF_ERROR(Count(&enum_values_, values.size(), limits_.enum_values, place, "values of enums"));
  for (const auto& [key, value] : schema)
    if (SaysMoreThanValues(key))
      PREFIXD_RETURN_IF_ERROR(NotSupported(place, "'" + std::string(key) + "' beside 'enum' or 'const'"));
  const Value* const named = schema.contains("const") ? schema.if_contains("enum") : nullptr;
  std::vector<std::string> types;
  if (schema.contains("type")) {
    PREFIXD_ASSIGN_OR_RETURN(types, TypesOf(schema, place));
  }
  std::vector<ExprId> choice;
  for (const Value& value : values) {
    const bool fits = types.empty() || std::any_of(types.begin(), types.end(), [&](const std::string& type) {
                        return IsOfType(value, type);
                      });
    const bool is_named = named == nullptr || !named->is_array() ||
                          std::ranges::find(named->get_array(), value) != named->get_array().end();
    if (!fits || !is_named) continue;
    const std::string text = TextOf(value, options_.spelling);
    PREFIXD_RETURN_IF_ERROR(
        Count(&text_bytes_, text.size(), limits_.text_bytes, place, "bytes of names and values"));
    choice.push_back(to_.Text(text));
  }
  return to_.Choice(std::move(choice));
}

Result<std::vector<std::string>> SchemaReader::TypesOf(const Object& schema, const Place& place) {
  std::vector<std::string> types;  // each once
  const Value* type = schema.if_contains("type");
  if (type == nullptr) {
    for (const About& about : kAbout)
      if (schema.contains(about.keyword)) types.emplace_back(about.type);
    std::sort(types.begin(), types.end());
    types.erase(std::unique(types.begin(), types.end()), types.end());
    return types;
  }
  const json::array one = {*type};
  for (const Value& name : type->is_array() ? type->get_array() : one) {
    constexpr std::string_view kTypes[] = {"object",  "array",   "string", "number",
                                           "integer", "boolean", "null"};
    if (!name.is_string() || !Has(kTypes, std::string_view(name.get_string())))
      return Error(place, "'type' must be the name of a type or an array of such names");
    const std::string_view type_name = name.get_string();
    if (std::ranges::find(types, type_name) == types.end()) types.emplace_back(type_name);
  }
  if (types.empty()) return Error(place, "'type' must name a type");
  return types;
}

Result<ExprId> SchemaReader::ReadType(const Object& schema, std::string_view type, const Place& place) {
  if (type == "object") return ReadObject(schema, place);
  if (type == "array") return ReadArray(schema, place);
  if (type == "string") return ReadString(schema, place);
  if (type == "number" || type == "integer") return ReadNumber(schema, type == "integer", place);
  return type == "boolean" ? json_.Boolean() : json_.Null();
}

Result<SchemaRead> ReadJsonSchema(const json::value& schema, const SchemaOptions& options, Expressions* to) {
  return SchemaReader(schema, options, to).Read();
}

}  // namespace prefixd::grammar
