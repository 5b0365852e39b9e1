// Measures the highest speeds that the machine reaches. The programs under bench/ compare their figures with
// these ceilings. Each measurement takes some tenths of a second and uses the CPUs that this process may use.
// Only one thread may call these functions, while nothing else runs.
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

// Returns the FLOP/s of single-precision FMA on `threads` threads, in the fastest of many short bursts. `isa`
// is "avx2" or "avx512". Returns 0 if the CPU does not support it.
double FmaFlopsPerSecond(const std::string& isa, int threads);

// Returns the bytes/s at which `threads` threads read memory that is in no CPU cache. Reads 512 MiB in parts
// and takes the fastest part. Returns 0 if the 512 MiB cannot be allocated.
double ReadBytesPerSecond(int threads);

}  // namespace prefixd::bench
