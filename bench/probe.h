// What the machine can do at best, measured now: the ceilings that every figure under bench/ stands beside.
// Plain functions; each takes some tenths of a second and uses the CPUs that this process may use.
#pragma once

#include <string>
#include <vector>

namespace prefixd::bench {

struct Machine {
  std::string cpu;                    // model name as the kernel says it
  int cpus;                           // that this process may use
  std::vector<std::string> features;  // instruction sets that matter here
};
Machine DescribeMachine();

// Single-precision FMA, the best of many short bursts. `isa`: "avx2" or "avx512"; 0 where the CPU lacks it.
double FmaFlopsPerSecond(const std::string& isa, int threads);

// Reading memory that no cache holds (512 MiB in parts), the best part.
double ReadBytesPerSecond(int threads);

}  // namespace prefixd::bench
