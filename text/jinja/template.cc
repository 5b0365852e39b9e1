#include "text/jinja/template.h"

#include <algorithm>
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
  try {
    Evaluator evaluator(limits, unix_seconds);
    for (const auto& [name, json] : variables) {
      const auto id = std::find(program_->names.begin(), program_->names.end(), name);
      if (id == program_->names.end()) continue;  // the template does not use it
      evaluator.Assign(static_cast<NameId>(id - program_->names.begin()),
                       FromJson(*json, evaluator.budget()));
    }
    return evaluator.Render(*program_);
  } catch (const Error& error) {
    return Status(error.code, error.message);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory left to render the chat template");
  }
}

Result<std::string> JsonText(const boost::json::value& value) {
  try {
    Budget budget{Limits()};
    return ToJson(FromJson(value, budget), JsonStyle(), budget);
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
