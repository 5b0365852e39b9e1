// The formats of strings that JSON Schema names, as regexes. A constant table; any thread.
#pragma once

#include <string_view>

namespace prefixd::grammar {

// "" for a format that is not supported. All match whole texts.
std::string_view RegexOfFormat(std::string_view format);

}  // namespace prefixd::grammar
