#include "daemon/api/constraint_request.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "daemon/api/engine_error.h"
#include "grammar/constraint_cache.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using grammar::ConstraintSpec;
using Kind = ConstraintSpec::Kind;

struct Asked {
  std::string param;
  ConstraintSpec spec;
};

ApiError WrongType(const std::string& param, std::string_view expected, const json::value& found) {
  return BadParameter(param,
                      "'" + param + "' must be " + std::string(expected) + ", not " + QuoteJson(found) + ".",
                      "invalid_type");
}

// A schema as an object or, as in vLLM, as a text.
void SetSchema(RequestFields& fields, const std::string& param, const json::value& value, Asked* asked) {
  asked->spec.kind = Kind::kJsonSchema;
  if (value.is_object() || value.is_bool()) {
    asked->spec.schema = value;
    return;
  }
  if (!value.is_string()) return fields.Fail(WrongType(param, "a JSON Schema", value));
  Parsed<json::object> parsed = ParseBody(value.get_string(), {});
  if (!parsed.ok())
    return fields.Fail(BadParameter(param, "'" + param + "' is no JSON Schema: " + parsed.error().message,
                                    "invalid_json_schema"));
  asked->spec.schema = std::move(*parsed);
}

void SetChoices(RequestFields& fields, const std::string& param, const json::value& value, Asked* asked) {
  asked->spec.kind = Kind::kChoice;
  if (!value.is_array() || value.get_array().empty())
    return fields.Fail(WrongType(param, "an array of at least one string", value));
  for (const json::value& choice : value.get_array()) {
    if (!choice.is_string()) return fields.Fail(WrongType(param, "an array of strings", value));
    asked->spec.choices.emplace_back(choice.get_string());
  }
}

void SetText(RequestFields& fields, Kind kind, const std::string& param, const json::value& value,
             Asked* asked) {
  asked->spec.kind = kind;
  if (!value.is_string()) return fields.Fail(WrongType(param, "a string", value));
  asked->spec.text = value.get_string();
}

// {"name":..,"strict":..,"schema":..}. The name changes nothing, so it may be missing.
void ReadJsonSchema(RequestFields& fields, const json::object& wrapped, Asked* asked) {
  RequestFields inner(wrapped, "response_format.json_schema.");
  asked->param = "response_format.json_schema.schema";
  asked->spec.strict = inner.Bool("strict", false);
  const std::optional<std::string> name = inner.String("name");
  const json::value* schema = inner.Find("schema");
  if (inner.error()) return fields.Fail(*inner.error());
  if (name && !IsGivenName(*name))
    return fields.Fail(BadParameter("response_format.json_schema.name",
                                    "The name of a schema has 1 to 64 letters, digits, '_' and '-', unlike " +
                                        QuoteJson(json::value(*name)) + ".",
                                    "invalid_value"));
  if (schema == nullptr)
    return fields.Fail(
        BadParameter(asked->param, "'" + asked->param + "' is missing.", "missing_required_parameter"));
  SetSchema(fields, asked->param, *schema, asked);
}

// {"type":"json_schema","json_schema":..}, {"type":"json_object"} and text. As in llama.cpp, json_object may
// have a schema beside it.
void ReadResponseFormat(RequestFields& fields, std::optional<Asked>* asked) {
  const json::object* format = fields.Object("response_format");
  if (format == nullptr) return;
  RequestFields inner(*format, "response_format.");
  const std::string type = inner.String("type").value_or("");
  const json::value* schema = inner.Find("schema");
  Asked one{"response_format", {}};
  if (type == "json_schema") {
    const json::object* wrapped = inner.Object("json_schema");
    if (inner.error()) return fields.Fail(*inner.error());
    if (wrapped == nullptr)
      return fields.Fail(BadParameter("response_format.json_schema",
                                      "'response_format' of type 'json_schema' needs 'json_schema'.",
                                      "missing_required_parameter"));
    ReadJsonSchema(fields, *wrapped, &one);
  } else if (type == "json_object") {
    if (schema != nullptr) SetSchema(fields, "response_format.schema", *schema, &one);
  } else if (type == "text") {
    return;
  } else {
    if (inner.error()) return fields.Fail(*inner.error());
    return fields.Fail(BadParameter("response_format.type",
                                    "'response_format.type' must be 'text', 'json_object' or 'json_schema'.",
                                    "invalid_value"));
  }
  *asked = std::move(one);
}

struct Extra {
  std::string_view name;
  Kind kind;
};
constexpr Extra kExtras[] = {{"guided_json", Kind::kJsonSchema}, {"guided_regex", Kind::kRegex},
                             {"guided_choice", Kind::kChoice},   {"guided_grammar", Kind::kGrammar},
                             {"json_schema", Kind::kJsonSchema}, {"grammar", Kind::kGrammar}};
constexpr Extra kStructured[] = {{"json", Kind::kJsonSchema},
                                 {"regex", Kind::kRegex},
                                 {"choice", Kind::kChoice},
                                 {"grammar", Kind::kGrammar}};

void ReadExtra(RequestFields& fields, const Extra& extra, const std::string& param, const json::value& value,
               std::optional<Asked>* asked) {
  if (*asked)
    return fields.Fail(BadParameter(
        param, "'" + param + "' and '" + (*asked)->param + "' exclude each other.", "invalid_value"));
  Asked one{param, {}};
  if (extra.kind == Kind::kJsonSchema) {
    SetSchema(fields, param, value, &one);
  } else if (extra.kind == Kind::kChoice) {
    SetChoices(fields, param, value, &one);
  } else {
    SetText(fields, extra.kind, param, value, &one);
  }
  *asked = std::move(one);
}

void ReadStructuredOutputs(RequestFields& fields, std::optional<Asked>* asked) {
  const json::object* outputs = fields.Object("structured_outputs");
  if (outputs == nullptr) return;
  RequestFields inner(*outputs, "structured_outputs.");
  if (inner.Find("structural_tag") != nullptr)
    return fields.Fail(UnsupportedParameter("structured_outputs.structural_tag", "constrained tags"));
  for (const Extra& extra : kStructured) {
    const std::string param = "structured_outputs." + std::string(extra.name);
    if (const json::value* value = inner.Find(extra.name)) ReadExtra(fields, extra, param, *value, asked);
  }
  const bool is_object = inner.Bool("json_object", false);
  // What is not known would leave the answer without the constraint that the client wants.
  for (const auto& [key, value] : *outputs) {
    const std::string_view name = key;
    const bool is_known = name == "json_object" || std::ranges::any_of(kStructured, [&](const Extra& extra) {
                            return extra.name == name;
                          });
    if (!is_known && !value.is_null() && value != false)
      return fields.Fail(
          UnsupportedParameter("structured_outputs." + std::string(name), "an option of that name"));
  }
  if (!is_object && !*asked && !inner.error() && !fields.error())
    return fields.Fail(BadParameter("structured_outputs",
                                    "'structured_outputs' needs one of 'json', 'regex', 'choice', 'grammar' "
                                    "and 'json_object'.",
                                    "missing_required_parameter"));
  if (is_object) {
    if (*asked)
      return fields.Fail(BadParameter("structured_outputs.json_object",
                                      "only one constraint can be asked for.", "invalid_value"));
    *asked = Asked{"structured_outputs.json_object", {}};
  }
  if (inner.error()) fields.Fail(*inner.error());
}

std::string_view CodeOf(Kind kind) {
  return kind == Kind::kJsonSchema ? "invalid_json_schema"
         : kind == Kind::kCalls    ? "invalid_function_parameters"
                                   : "invalid_grammar";
}

std::optional<ApiError> Compile(const Asked& asked, const ApiContext& context, GenerationRequest* request) {
  const Result<grammar::CompiledSpec> made = context.constraints->Get(asked.spec);
  const std::string code(CodeOf(asked.spec.kind));
  if (!made.ok()) {
    if (made.status().code() == Code::kUnavailable) return EngineError(made.status());
    return BadParameter(asked.param, "'" + asked.param + "': " + made.status().message() + ".", code);
  }
  context.answers->AddFormat(made->ignored.size());
  request->constraint = made->constraint;
  request->constraint_field = asked.param;
  request->constraint_code = code;
  return std::nullopt;
}

}  // namespace

// The fields of all APIs, beside kExtras. A field of another API costs a short request a change of threads.
constexpr std::string_view kFormatFields[] = {
    "response_format", "structured_outputs", "tools", "functions", "text", "output_config", "output_format"};

bool AsksForConstraint(const json::object& body) {
  return std::ranges::any_of(kFormatFields, [&](std::string_view name) { return body.contains(name); }) ||
         std::ranges::any_of(kExtras, [&](const Extra& extra) { return body.contains(extra.name); });
}

std::optional<ApiError> SetCalls(grammar::CallSpec calls, const std::string& field, const ApiContext& context,
                                 GenerationRequest* request) {
  Asked asked{field, {.kind = Kind::kCalls}};
  asked.spec.calls = std::move(calls);
  return Compile(asked, context, request);
}

void AddConstraintFields(FieldTable* table) {
  table->Object("response_format", R"({"type":{"type":["string","null"]}})");
  table->Object("structured_outputs", R"({"json_object":{"type":["boolean","null"]}})");
  for (const Extra& extra : kExtras) {
    table->Any(extra.name, extra.kind == Kind::kJsonSchema ? R"({"type":["object","boolean","string"]})"
                           : extra.kind == Kind::kChoice   ? R"({"type":"array","minItems":1})"
                                                           : R"({"type":"string"})");
  }
}

void ReadConstraint(RequestFields& fields, const ApiContext& context, GenerationRequest* request) {
  std::optional<Asked> asked;
  ReadResponseFormat(fields, &asked);
  ReadStructuredOutputs(fields, &asked);
  for (const Extra& extra : kExtras) {
    if (const json::value* value = fields.Find(extra.name))
      ReadExtra(fields, extra, std::string(extra.name), *value, &asked);
  }
  if (!asked || fields.error()) return;
  if (auto error = Compile(*asked, context, request)) fields.Fail(*std::move(error));
}

}  // namespace prefixd
