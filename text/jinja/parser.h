// Template source to a syntax tree. What the template uses and we lack is refused here, by name and place,
// and never found out in the middle of a request: unknown tags, filters, tests, functions and methods.
#pragma once

#include <string_view>

#include "text/jinja/nodes.h"

namespace prefixd::jinja {

// Throws Error: kUnsupported for what we lack, kInvalidArgument for what is no template.
Program ParseProgram(std::string_view source);

}  // namespace prefixd::jinja
