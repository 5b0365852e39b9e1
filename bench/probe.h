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

// The instructions whose rates bound the kernels: FMA of f32, the products of bytes in pairs (VPMADDUBSW),
// and the dot products of pairs of bf16 (VDPBF16PS) and of four bytes (VPDPBUSD, VNNI), both of 512 bits.
enum class Instruction { kFmaAvx2, kPairsAvx2, kFmaAvx512, kPairsAvx512, kDotsBF16, kDotsInt8 };
inline constexpr Instruction kInstructions[] = {Instruction::kFmaAvx2,   Instruction::kPairsAvx2,
                                                Instruction::kFmaAvx512, Instruction::kPairsAvx512,
                                                Instruction::kDotsBF16,  Instruction::kDotsInt8};
// Its name in the machine line, and what a CPU without it lacks.
const char* NameOf(Instruction instruction);
const char* NeedsOf(Instruction instruction);

// Returns the multiplications and additions per second of an instruction on `threads` threads, in the fastest
// of many short bursts. Returns 0 if the CPU does not have it.
double OpsPerSecond(Instruction instruction, int threads);

// Returns the bytes/s at which `threads` threads read memory. Reads 512 MiB, of which CPU caches hold little,
// many times from end to end and takes the fastest time: parts of it would show what a cache still holds of
// the pass before. Returns 0 if the 512 MiB cannot be allocated.
double ReadBytesPerSecond(int threads);

}  // namespace prefixd::bench
