// Text from formats: Python's % operator on str, str.format, and strftime.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace prefixd::jinja {

// format % arguments; `arguments` is a tuple, a dict for %(name)s, or one value. Conversions s r a d i u x X
// o c e E f F g G %.
Value FormatPercent(const Value& format, const Value& arguments, Budget& budget);

// format.format(arguments): {0} {name} {a.b[c]} {!r} {:spec}, fields in the specification included.
Value FormatBraces(const Value& format, const Arguments& arguments, Budget& budget);

// `unix_seconds` in the local time zone of the process, with English names whatever the locale. Raises when
// the text is longer than a page.
std::string FormatTime(const std::string& format, int64_t unix_seconds);

}  // namespace prefixd::jinja
