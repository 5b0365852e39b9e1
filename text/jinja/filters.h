// What the files of filters share. Other code calls FindFilter of builtins.h. Each file has one table with
// one row per filter, and passes names that it does not know to the next file.
#pragma once

#include <string_view>

#include "text/jinja/builtins.h"

namespace prefixd::jinja {

struct FilterEntry {
  std::string_view name;
  Filter filter;
};

// Return null when neither the file nor those after it have a filter of that name.
Filter FindNumberFilter(std::string_view name);
Filter FindSequenceFilter(std::string_view name);
Filter FindGeneratorFilter(std::string_view name);

// Returns item.a.b[0] for the path "a.b.0". Each part is a key, or an index when it consists of digits. A
// path may also be an int, which is an index, or none, which gives the item. A missing part gives `fallback`
// when that is not none.
Value AttributePath(Evaluator& evaluator, Value item, const Value& path, const Value& fallback = {});
// Returns the key that sort, unique, min and max compare: lower-case text unless `case_sensitive`.
Value SortKey(Value value, bool case_sensitive, Budget& budget);

}  // namespace prefixd::jinja
