// Tables of methods, one row per name, for the files that define methods. Other code calls BindMethod of
// builtins.h.
#pragma once

#include <algorithm>
#include <string_view>

#include "text/jinja/builtins.h"

namespace prefixd::jinja {

struct Method {
  std::string_view name;
  // Null for a method that would change `self`, which the sandbox forbids.
  Value (*run)(Evaluator&, const Value& self, const Arguments&);
};

struct MethodTable {
  const Method* begin_;
  const Method* end_;
  const Method* begin() const { return begin_; }
  const Method* end() const { return end_; }
  const Method* Find(std::string_view name) const {
    const auto* found = std::find_if(begin_, end_, [&](const Method& m) { return m.name == name; });
    return found == end_ ? nullptr : found;
  }
};
template <size_t n>
constexpr MethodTable Table(const Method (&methods)[n]) {
  return {methods, methods + n};
}
MethodTable StringMethods();

}  // namespace prefixd::jinja
