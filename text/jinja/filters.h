// What the files of filters share; everyone else asks FindFilter of builtins.h. Each file has one
// table, a row per name, and asks the next file for what it has not.
#pragma once

#include <string_view>

#include "text/jinja/builtins.h"

namespace prefixd::jinja {

struct FilterEntry {
  std::string_view name;
  Filter filter;
};

// Null when there is none of that name.
Filter FindNumberFilter(std::string_view name);
Filter FindSequenceFilter(std::string_view name);
Filter FindGeneratorFilter(std::string_view name);

// item.a.b.0 for the path "a.b.0": each part is a key or, in digits, an index; an int is an index itself,
// none the item. Where `absent` is not none it stands for every part that is not there.
Value AttributePath(Evaluator& evaluator, Value item, const Value& path, const Value& absent = {});
// What sorting, grouping and uniqueness compare: without case unless told otherwise.
Value SortKey(Value value, bool case_sensitive, Budget& budget);

}  // namespace prefixd::jinja
