// How the two files of filters share their table; everyone else asks FindFilter of jinja_builtins.h.
#pragma once

#include <string_view>

#include "engine/text/jinja_builtins.h"

namespace prefixd::jinja {

struct FilterEntry {
  std::string_view name;
  Filter filter;
};

Filter FindSequenceFilter(std::string_view name);  // null when there is none of that name

}  // namespace prefixd::jinja
