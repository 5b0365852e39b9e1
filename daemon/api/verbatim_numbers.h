// Numbers that the parser of bodies has kept as their digits (ParseBody). Pure; any thread.
#pragma once

#include <boost/json/value.hpp>

namespace prefixd {

// A copy in which such numbers, strings that begin with kJsonNumberMark, are numbers. The mark is not UTF-8,
// so no text that is sent, stored or shown to the model may have it.
boost::json::value Unmarked(const boost::json::value& value);

}  // namespace prefixd
