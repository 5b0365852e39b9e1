// RunningConfig: the options of a running daemon, with what SIGHUP has changed.
//
// Threads: the main thread calls Reload, any thread the others.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "daemon/api/key_ring.h"
#include "daemon/options.h"
#include "daemon/reload.h"

namespace prefixd {

class RunningConfig {
 public:
  using KeysCheck = std::function<Status(const std::vector<ApiKey>&)>;
  // `keys` and `tls` get what is in the files when these are read again, unless `check` refuses the keys.
  RunningConfig(const Options& options, OptionsReader reader, KeysCheck check, KeyRing* keys, TlsContext* tls)
      : reader_(std::move(reader)), check_(std::move(check)), keys_(keys), tls_(tls), options_(options) {}

  // Reads the options again. What can change takes effect, and the log says what did and what did not. When
  // anything is wrong, nothing changes, and the log and check() say so.
  void Reload();

  Options options() const {
    MutexLock lock(mutex_);
    return options_;
  }
  // "ok", or "failed: ..." when the last reload was refused. It has no part of the configuration.
  std::string check() const {
    MutexLock lock(mutex_);
    return refused_ ? "failed: the last reload was refused, and the configuration of before is in effect; "
                      "the log says why"
                    : "ok";
  }

 private:
  const OptionsReader reader_;
  const KeysCheck check_;
  KeyRing* const keys_;
  TlsContext* const tls_;
  mutable Mutex mutex_;
  Options options_ GUARDED_BY(mutex_);
  bool refused_ GUARDED_BY(mutex_) = false;
};

}  // namespace prefixd
