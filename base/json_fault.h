// Says in words why a text is not JSON: the place, the text there, and what is expected. Used by
// ParseJsonObject (base/json_fields.h). A pure function; any thread.
//
// Invariants
//   1. The words are one line of valid UTF-8 without control characters, whatever the text contains.
//   2. It takes time linear in the text, and memory linear in the depth of its objects and arrays.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace prefixd {

// " at line 3, column 14, before '}': the comma before it is one too many", or " at line 1, column 1: it is
// empty". Lines and columns count from 1; a column is a code point. `offset` is where a parser stopped and
// `error` its own words, which are used where nothing better is known.
std::string DescribeJsonFault(std::string_view text, size_t offset, std::string_view error);

}  // namespace prefixd
