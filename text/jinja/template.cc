#include "text/jinja/template.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <new>

#include "text/jinja/evaluator.h"
#include "text/jinja/parser.h"

namespace prefixd::jinja {

Template::Template(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
Template::~Template() = default;

Result<std::unique_ptr<const Template>> Template::Parse(std::string_view source) {
  try {
    return std::unique_ptr<const Template>(
        new Template(std::make_unique<const Program>(ParseProgram(source))));
  } catch (const Error& error) {
    return Status(error.code, error.message);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory left to parse the chat template");
  }
}

Result<std::string> Template::Render(const Variables& variables, int64_t unix_seconds,
                                     const Limits& limits) const {
  PREFIXD_ASSIGN_OR_RETURN(MarkedText text, RenderMarked(variables, unix_seconds, limits));
  return std::move(text).TakeBytes();
}

Result<MarkedText> Template::RenderMarked(const Variables& variables, int64_t unix_seconds,
                                          const Limits& limits) const {
  try {
    Evaluator evaluator(limits, unix_seconds);
    for (const auto& [name, json, input] : variables) {
      const auto id = std::find(program_->names.begin(), program_->names.end(), name);
      if (id == program_->names.end()) continue;  // the template does not use it
      evaluator.Assign(static_cast<NameId>(id - program_->names.begin()),
                       FromJson(*json, input, evaluator.budget()));
    }
    return evaluator.Render(*program_);
  } catch (const Error& error) {
    return Status(error.code, error.message);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory left to render the chat template");
  }
}

std::optional<boost::json::value> ParseJsonText(std::string_view json) {
  boost::json::parse_options options;
  options.allow_invalid_utf8 = true;  // the marks of numbers
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(KeepNumbers(json), error, {}, options);
  return error ? std::nullopt : std::optional(std::move(value));
}

Result<std::string> JsonText(const boost::json::value& value) {
  try {
    Budget budget{Limits()};
    return ToJson(value, budget);
  } catch (const Error& error) {
    return Status(error.code, error.message);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory left to write JSON");
  }
}

bool Template::MentionsString(std::string_view text) const {
  return std::find(program_->literals.begin(), program_->literals.end(), text) != program_->literals.end();
}

}  // namespace prefixd::jinja
