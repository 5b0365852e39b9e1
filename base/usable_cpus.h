// The number of CPUs that this process may keep busy: those of its affinity mask, limited by the CPU quota of
// its control groups (cgroup.h). A process with more busy threads is stopped for a part of every period.
//
// A quota is rounded to the nearest number, and to 1 at least. With a quota of 1.5, two threads prefill
// faster than one and decode as fast; with 1.25 they decode slower.
//
// Threads: any. Every call reads files.
#pragma once

#include <sched.h>

#include <filesystem>
#include <functional>
#include <string>

namespace prefixd {

struct UsableCpus {
  int count = 1;
  std::string source;  // what the number comes from, as "CPU affinity"
};

// Like sched_getaffinity: fills the `bytes` of `set` and returns 0, or returns -1 and sets errno.
using AffinityReader = std::function<int(size_t bytes, cpu_set_t* set)>;
int ReadAffinity(size_t bytes, cpu_set_t* set);  // of this process

// `root` is "/"; tests create /proc and /sys below another folder.
UsableCpus CountUsableCpus(const std::filesystem::path& root = "/",
                           const AffinityReader& affinity = ReadAffinity);

}  // namespace prefixd
