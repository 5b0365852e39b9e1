// One GET from a daemon, over TCP or a Unix socket: for the command that asks the admin listener. It blocks,
// at most kSeconds for each part, and reads at most the limit "admin-answer". Any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace prefixd {

struct AdminAnswer {
  int status = 0;
  std::string body;
};

// `address` is ADDR:PORT, http://ADDR:PORT or unix:PATH; `path` begins with '/'; `key` may be empty.
// kInvalidArgument: the address is none. kUnavailable: nobody answers there. kCorrupt: the answer is not
// HTTP.
Result<AdminAnswer> GetFromDaemon(const std::string& address, const std::string& path,
                                  const std::string& key);

// The text as a part of a path.
std::string PercentEncoded(std::string_view text);

}  // namespace prefixd
