// What SIGHUP does: the options are read again as at the start, from the flags, the variables and the file.
// What can change in a running daemon takes effect, the rest is named in the log. When anything is wrong,
// nothing changes.
//
// Threads: pure functions but for the files; the main thread calls them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "daemon/api/api_key.h"
#include "daemon/http/tls.h"
#include "daemon/options.h"

namespace prefixd {

// Reads the options again; all their faults are in the error.
using OptionsReader = std::function<Result<Options>()>;

struct Reload {
  Options options{};                       // those in effect afterwards
  std::vector<ApiKey> keys;                // of api-keys
  std::shared_ptr<const TlsFiles> tls;     // of tls-cert and tls-key, read again; null: there are none
  std::vector<std::string> changed;        // names of options that take effect now
  std::vector<std::string> needs_restart;  // names of those that do not
};

// `now` and `keys` are what is in effect. log-level takes effect, and so do the keys of the file api-keys,
// which is read again in any case. Whether keys are required at all does not change in a running daemon: what
// others have cached belongs to a key or to none. The error says what is wrong; nothing changes then.
Result<Reload> ReadReload(const Options& now, const std::vector<ApiKey>& keys, const OptionsReader& read);

// The options that do not have their default, with their values.
std::vector<std::pair<std::string, std::string>> ChangedOptions(const Options& options);

}  // namespace prefixd
