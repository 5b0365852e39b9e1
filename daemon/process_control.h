// How the outside stops this process and hears of it: signals in, sd_notify out. The only user of libsystemd. Main thread.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace prefixd {

// SIGTERM and SIGINT as something to wait for. Construct before any other thread starts: they inherit the blocked signals.
// SIGPIPE is ignored from then on: a gone peer is an error of a write.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // True when a signal came within `timeout`; each signal counts once.
  bool Wait(std::chrono::milliseconds timeout);

 private:
  int fd_;
};

// Tells the service manager, where there is one ($NOTIFY_SOCKET); otherwise nothing happens.
void NotifyReady(std::string_view status);
void NotifyStopping(std::string_view status);
void NotifyStatus(std::string_view status);
// A long start goes on: the start may take this much longer from now on.
void NotifyLoading(std::string_view status, std::chrono::seconds more);
void NotifyWatchdog();
// How often the watchdog wants to hear, when it is on.
std::optional<std::chrono::microseconds> WatchdogInterval();

}  // namespace prefixd
