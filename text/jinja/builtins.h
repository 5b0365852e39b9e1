// What templates may call by name: filters, tests, functions and methods, each set in one table. The parser
// asks these tables, so that a template which uses something else is refused when it is loaded.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace prefixd::jinja {

using Filter = Value (*)(Evaluator& evaluator, const Value& input, const Arguments& arguments);
using Test = bool (*)(Evaluator& evaluator, const Value& input, const Arguments& arguments);

// Null when there is none of that name.
Filter FindFilter(std::string_view name);
Test FindTest(std::string_view name);
std::shared_ptr<const Callable> FindFunction(std::string_view name);

// The method `name` bound to `self`; nothing when its type has none. Methods that would change `self` are
// known but unsafe: they come back undefined, as from Jinja's immutable sandbox.
std::optional<Value> BindMethod(const Value& self, std::string_view name);
// Whether any type has that method.
bool IsMethodName(std::string_view name);

// Arguments of a call laid out by the names of the parameters, as Python does it. Raises on too many, on
// unknown names and when one of the first `required` is absent.
class Parameters {
 public:
  Parameters(std::string_view function, std::initializer_list<std::string_view> names,
             const Arguments& arguments, size_t required = 0);
  // Null where the argument is absent.
  const Value* operator[](size_t i) const { return values_[i]; }
  bool given(size_t i) const { return values_[i] != nullptr; }
  bool Flag(size_t i) const { return values_[i] != nullptr && Truth(*values_[i]); }
  Int Integer(size_t i, Int absent) const;                             // raises when it is no int
  const std::string& Text(size_t i, const std::string& absent) const;  // raises when it is no str

 private:
  const std::string_view function_;
  std::vector<const Value*> values_;
};

}  // namespace prefixd::jinja
