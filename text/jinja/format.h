// Text from format strings: Python's % operator on str, str.format, and strftime. Pure functions, any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace prefixd::jinja {

// format % arguments; `arguments` is a tuple, a dict for %(name)s, or one value. The conversions are
// %[(name)][-+ 0][width][.precision] with one of s r d i u x X e E f F g G, and %%. A precision applies to
// text and floats.
Value FormatPercent(const Value& format, const Value& arguments, Budget& budget);

// format.format(arguments). The fields are {} {0} {name}, each with !r or !s and with :spec. A field neither
// has an attribute ("{0.name}") nor a nested field ("{:{}}").
Value FormatBraces(const Value& format, const Arguments& arguments, Budget& budget);

// `unix_seconds` in the local time zone of the process, with English names in every locale. Raises when the
// result is longer than a page.
std::string FormatTime(const std::string& format, int64_t unix_seconds);

// A format specification: [[fill]align][sign][0][width][,][.precision][type]. The types are s for text, d x X
// for integers, e E f F g G % for all numbers.
struct FormatSpec {
  std::string fill = " ";
  char align = 0;   // < > ^ = or 0 for the default of the type
  char sign = '-';  // what a positive number shows: + or space, - for nothing
  size_t width = 0;
  bool grouping = false;  // a comma between thousands
  std::optional<size_t> precision;
  char type = 0;  // 0 for the default of the type
};

// Raises on a malformed specification. `number` says that the value is one: a 0 before the width then means
// zeros between the sign and the digits.
FormatSpec ParseFormatSpec(std::string_view text, bool number, const Budget& budget);
MarkedText FormatText(const MarkedText& text, const FormatSpec& spec, Budget& budget);
std::string FormatInteger(Int value, const FormatSpec& spec, Budget& budget);
std::string FormatReal(double value, const FormatSpec& spec, Budget& budget);

}  // namespace prefixd::jinja
