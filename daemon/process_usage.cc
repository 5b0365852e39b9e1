#include "daemon/process_usage.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace prefixd {
namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

}  // namespace

ProcessUsage ReadProcessUsage() {
  ProcessUsage usage;
  rusage times{};
  if (getrusage(RUSAGE_SELF, &times) == 0)
    usage.cpu_seconds = Seconds(times.ru_utime) + Seconds(times.ru_stime);
  uint64_t pages = 0, resident = 0;
  if (std::ifstream("/proc/self/statm") >> pages >> resident) {
    const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    usage.virtual_bytes = pages * page_bytes;
    usage.resident_bytes = resident * page_bytes;
  }
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error)) {
    ++usage.open_fds;
  }
  usage.open_fds -= std::min<uint64_t>(usage.open_fds, 1);  // the descriptor of this iteration
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.max_fds = limit.rlim_cur;
  struct stat status;
  if (stat("/proc/self", &status) == 0) usage.start_time_seconds = static_cast<double>(status.st_ctime);
  return usage;
}

}  // namespace prefixd
