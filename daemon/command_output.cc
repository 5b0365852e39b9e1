#include "daemon/command_output.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>

#include "base/utf8.h"

namespace prefixd {

void Print(const std::string& text) { std::fputs(text.c_str(), stdout); }

ExitCode PrintFailure(bool json, ExitCode code, const std::string& message, std::string_view lead) {
  if (json) {
    Print(boost::json::serialize(boost::json::object{{"schema", 1},
                                                     {"ok", false},
                                                     {"exit_code", static_cast<int>(code)},
                                                     {"error", RepairUtf8(message)}}) +
          "\n");
  } else {
    std::fprintf(stderr, "prefixd: %s%s\n", std::string(lead).c_str(), message.c_str());
  }
  return code;
}

}  // namespace prefixd
