// Measures what the machine can do at best: the ceilings with which the programs under bench/ compare their
// figures. Plain functions. Each takes some tenths of a second and uses the CPUs that this process may use;
// one thread calls them, while nothing else runs.
#pragma once

#include <string>
#include <vector>

namespace prefixd::bench {

struct Machine {
  std::string cpu;                    // model name from /proc/cpuinfo
  int cpus;                           // number of CPUs that this process may use
  std::vector<std::string> features;  // instruction sets that the kernels use or could use
};
Machine DescribeMachine();

// FLOP/s of single-precision FMA on `threads` threads, the best of many short bursts. `isa` is "avx2" or
// "avx512"; returns 0 if the CPU does not support it.
double FmaFlopsPerSecond(const std::string& isa, int threads);

// Bytes/s of reading memory that is in no CPU cache: the best of the parts of 512 MiB. Returns 0 if that
// memory cannot be allocated.
double ReadBytesPerSecond(int threads);

}  // namespace prefixd::bench
