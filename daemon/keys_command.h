// The command `prefixd keys hash`: makes an entry of the file --api-keys, which has the hash of a key. The
// command line never has a key, because other users see that.
//
// Threads: the main thread.
#pragma once

#include <string>
#include <vector>

#include "daemon/exit_code.h"

namespace prefixd {

struct KeysOptions {
  std::vector<std::string> fields;  // of the entry, as in "tenant=alice"
  bool draw = false;                // a new key, which goes to stderr; otherwise stdin has the key
};

// Prints the entry to stdout. kExitUsage: the key is too short or not one line, or a field is wrong.
ExitCode HashKey(const KeysOptions& options);

}  // namespace prefixd
