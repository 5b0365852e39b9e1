// Resources that this process uses, for the process_* metrics.
//
// Threads: any. Every call reads /proc.
#pragma once

#include <cstdint>

namespace prefixd {

struct ProcessUsage {
  double cpu_seconds = 0;
  uint64_t resident_bytes = 0, virtual_bytes = 0;
  uint64_t open_fds = 0, max_fds = 0;
  double start_time_seconds = 0;  // Unix time
};

ProcessUsage ReadProcessUsage();

}  // namespace prefixd
