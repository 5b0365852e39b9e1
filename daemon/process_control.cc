#include "daemon/process_control.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <string>

#include "base/check.h"

namespace prefixd {
namespace {

bool OnMainThread() { return ::gettid() == ::getpid(); }

void Notify(const std::string& state) { sd_notify(0, state.c_str()); }

std::string StatusLine(std::string_view status) { return "STATUS=" + std::string(status); }

}  // namespace

StopSignals::StopSignals() {
  PREFIXD_CHECK(OnMainThread()) << "signals are blocked before other threads start";
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  PREFIXD_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  PREFIXD_CHECK(fd_ >= 0) << "signalfd";
  signal(SIGPIPE, SIG_IGN);
}

StopSignals::~StopSignals() { close(fd_); }

void StopSignals::RaiseStop() { PREFIXD_CHECK(kill(getpid(), SIGTERM) == 0) << "kill"; }

bool StopSignals::Wait(std::chrono::milliseconds timeout) {
  PREFIXD_CHECK(OnMainThread());
  pollfd waiting{fd_, POLLIN, 0};
  if (poll(&waiting, 1, static_cast<int>(timeout.count())) <= 0) return false;
  signalfd_siginfo info;
  if (read(fd_, &info, sizeof(info)) != sizeof(info)) return false;
  if (info.ssi_signo != SIGHUP) return true;
  reload_ = true;
  return false;
}

void NotifyReady(std::string_view status) { Notify("READY=1\n" + StatusLine(status)); }
void NotifyStopping(std::string_view status) { Notify("STOPPING=1\n" + StatusLine(status)); }
void NotifyStatus(std::string_view status) { Notify(StatusLine(status)); }
void NotifyLoading(std::string_view status, std::chrono::seconds more) {
  Notify(StatusLine(status) +
         "\nEXTEND_TIMEOUT_USEC=" + std::to_string(std::chrono::microseconds(more).count()));
}
void NotifyWatchdog() { Notify("WATCHDOG=1"); }

static_assert(kFirstPassedSocket == SD_LISTEN_FDS_START);
int PassedSockets() { return sd_listen_fds(/*unset_environment=*/0); }

std::optional<std::chrono::microseconds> WatchdogInterval() {
  uint64_t microseconds = 0;
  if (sd_watchdog_enabled(0, &microseconds) <= 0) return std::nullopt;
  return std::chrono::microseconds(microseconds);
}

}  // namespace prefixd
