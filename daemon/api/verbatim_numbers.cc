#include "daemon/api/verbatim_numbers.h"

#include <boost/json.hpp>
#include <cstdlib>

#include "base/json_fields.h"

namespace prefixd {

namespace json = boost::json;

json::value Unmarked(const json::value& value) {
  if (value.is_string() && !value.get_string().empty() && value.get_string()[0] == kJsonNumberMark)
    return std::strtod(value.get_string().c_str() + 1, nullptr);
  if (value.is_array()) {
    json::array list;
    for (const json::value& one : value.get_array()) list.push_back(Unmarked(one));
    return list;
  }
  if (!value.is_object()) return value;
  json::object object;
  for (const auto& [name, member] : value.get_object()) object.emplace(name, Unmarked(member));
  return object;
}

}  // namespace prefixd
