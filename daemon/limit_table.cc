#include "daemon/limit_table.h"

#include "base/bytes.h"

namespace prefixd {

std::string LimitsAsMarkdown() {
  std::string text = "| limit | value | bounds |\n|---|---|---|\n";
  for (const LimitSpec& limit : kLimitTable) {
    const std::string value = limit.unit == "bytes"
                                  ? FormatSize(static_cast<uint64_t>(limit.value))
                                  : std::to_string(limit.value) + " " + std::string(limit.unit);
    text += "| " + std::string(limit.name) + " | " + value + " | " + std::string(limit.reason) + " |\n";
  }
  return text;
}

}  // namespace prefixd
