// Parses template source into a syntax tree. Unknown tags, filters, tests, functions and methods are rejected
// here with their name and place, so that a request never runs into one. May be called from any thread.
#pragma once

#include <string_view>

#include "text/jinja/nodes.h"

namespace prefixd::jinja {

// Throws Error: kUnsupported for a name that is not supported, kInvalidArgument for a syntax error.
Program ParseProgram(std::string_view source);

}  // namespace prefixd::jinja
