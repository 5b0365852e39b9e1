#include "daemon/command_output.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <sstream>
#include <utility>

#include "base/utf8.h"

namespace prefixd {

void Print(const std::string& text) { std::fputs(text.c_str(), stdout); }

ExitCode PrintFailure(bool json, ExitCode code, const std::string& message, std::string_view lead) {
  if (json) {
    boost::json::array faults;
    std::istringstream lines(message);
    for (std::string line; std::getline(lines, line);) faults.emplace_back(RepairUtf8(line));
    Print(boost::json::serialize(boost::json::object{{"schema", 1},
                                                     {"ok", false},
                                                     {"exit_code", static_cast<int>(code)},
                                                     {"error", RepairUtf8(message)},
                                                     {"faults", std::move(faults)}}) +
          "\n");
  } else {
    std::fprintf(stderr, "prefixd: %s%s\n", std::string(lead).c_str(), message.c_str());
  }
  return code;
}

}  // namespace prefixd
