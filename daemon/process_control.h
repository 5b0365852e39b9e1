// Stop signals, and notifications to systemd. Only process_control.cc includes libsystemd.
//
// Threads: StopSignals belongs to the main thread. Any thread may call the Notify functions.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

namespace prefixd {

// Waits for SIGTERM and SIGINT, and takes note of SIGHUP, which asks to reload. Construct it before any other
// thread starts, because threads inherit the blocked signals. It also ignores SIGPIPE: writing to a closed
// connection is an error of the write.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Returns true when SIGTERM or SIGINT arrived within `timeout`. Each signal counts once. Returns early, and
  // false, after SIGHUP.
  bool Wait(std::chrono::milliseconds timeout);
  // Whether SIGHUP has arrived in a Wait since the last call.
  bool TakeReload() { return std::exchange(reload_, false); }
  // Does what a SIGTERM from outside does. Any thread.
  static void RaiseStop();

 private:
  int fd_;
  bool reload_ = false;
};

// Notify the service manager. They do nothing without $NOTIFY_SOCKET.
void NotifyReady(std::string_view status);
void NotifyStopping(std::string_view status);
void NotifyStatus(std::string_view status);
// Loading continues: extends the start timeout to `more` from now.
void NotifyLoading(std::string_view status, std::chrono::seconds more);
void NotifyWatchdog();
// The number of sockets that the service manager passes to this process, from kFirstPassedSocket on
// (sd_listen_fds(3)); below 0: its variables are damaged. Makes them close-on-exec.
inline constexpr int kFirstPassedSocket = 3;
int PassedSockets();
// The watchdog interval, if the watchdog is enabled.
std::optional<std::chrono::microseconds> WatchdogInterval();

}  // namespace prefixd
