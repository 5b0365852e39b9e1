// Built-in filters, tests, functions and methods, found by name. Each kind has its tables; the parser looks
// names up in them, so a template that uses an unknown name is rejected when it is loaded. The functions here
// may be called from any thread.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace prefixd::jinja {

using Filter = Value (*)(Evaluator& evaluator, const Value& input, const Arguments& arguments);
using Test = bool (*)(Evaluator& evaluator, const Value& input, const Arguments& arguments);

// Return null when there is none of that name.
Filter FindFilter(std::string_view name);
Test FindTest(std::string_view name);
std::shared_ptr<const Callable> FindFunction(std::string_view name);

// Returns the method `name` bound to `self`, or nullopt when its type has no such method. For a method that
// would change `self` it returns Undefined, as Jinja's immutable sandbox does.
std::optional<Value> BindMethod(const Value& self, std::string_view name);
// Returns whether any type has a method of that name.
bool IsMethodName(std::string_view name);

// The arguments of a call, matched to the names of the parameters as Python does. Raises when there are too
// many arguments, when a keyword is unknown, and when one of the first `required` arguments is missing. Holds
// pointers into `arguments`.
class Parameters {
 public:
  Parameters(std::string_view function, std::initializer_list<std::string_view> names,
             const Arguments& arguments, size_t required = 0);
  // Null when the argument is missing.
  const Value* operator[](size_t i) const { return values_[i]; }
  bool given(size_t i) const { return values_[i] != nullptr; }
  bool Flag(size_t i) const { return values_[i] != nullptr && IsTrue(*values_[i]); }
  // The argument as an int or a str; `fallback` when it is missing. Raise on another type.
  Int Integer(size_t i, Int fallback) const;
  const std::string& Text(size_t i, const std::string& fallback) const;

 private:
  const std::string_view function_;
  std::vector<const Value*> values_;
};

}  // namespace prefixd::jinja
