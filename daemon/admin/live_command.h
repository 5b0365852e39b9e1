// `prefixd inspect --live ADDR [status | ready | requests | request ID]`: asks the admin listener of a daemon
// and prints its document, as text or as it is. Main thread.
#pragma once

#include <string>

#include "daemon/exit_code.h"

namespace prefixd {

struct LiveOptions {
  std::string address;          // empty: the command is not about a daemon
  std::string what = "status";  // status, ready, requests or request
  std::string id;               // of the request
  std::string key_file;         // its first key is sent; empty: none
  bool json = false;
  int64_t watch_seconds = 0;  // ask again after so long, until a signal; 0: once
};

// kExitFailed: nobody answers, the answer is an error, or with `ready` the daemon is not ready. kExitUsage:
// the address or the key file is wrong.
ExitCode InspectLive(const LiveOptions& options);

}  // namespace prefixd
