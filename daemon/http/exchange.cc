#include "daemon/http/exchange.h"

#include <exception>

#include "base/log.h"

namespace prefixd {

std::string_view HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

void RunAndCatch(const std::function<void()>& job) {
  try {
    job();
  } catch (const std::exception& error) {
    Log(LogLevel::kError, "a job of a request threw", {{"what", error.what()}});
  }
}

}  // namespace prefixd
