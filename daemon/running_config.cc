#include "daemon/running_config.h"

#include "base/log.h"
#include "daemon/log_sink.h"

namespace prefixd {
namespace {

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text.empty() ? "none" : text;
}

}  // namespace

void RunningConfig::Reload() {
  Result<struct Reload> reload = ReadReload(options(), keys_->Read(), reader_);
  if (reload.ok()) {
    if (const Status fits = check_(reload->keys); !fits.ok()) reload = fits;
  }
  {
    MutexLock lock(mutex_);
    refused_ = !reload.ok();
    if (reload.ok()) options_ = reload->options;
  }
  if (!reload.ok()) {
    Log(LogLevel::kError, "reload refused; nothing has changed", {{"error", reload.status().message()}});
    return;
  }
  *keys_ = reload->keys;
  *tls_ = reload->tls;
  const LogLevel level = reload->needs_restart.empty() ? LogLevel::kInfo : LogLevel::kWarning;
  const auto tell = [&] {
    Log(level, "reloaded",
        {{"changed", Joined(reload->changed)}, {"needs_restart", Joined(reload->needs_restart)}});
  };
  const bool told = LogEnabled(level);  // by the level before, or else by the new one
  if (told) tell();
  ChangeLogLevel(reload->options.log_level);
  if (!told) tell();
}

}  // namespace prefixd
