#include "bench/probe.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <thread>

#include "base/usable_cpus.h"
#include "kernels/cpu/amx.h"
#include "kernels/host_memory.h"

namespace prefixd::bench {
namespace {

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Keeps the calling thread on one of the usable CPUs: the scheduler may leave two new threads on one CPU for
// longer than a burst takes. A system that refuses may do so.
void StayOn(const cpu_set_t& usable, int number) {
  int left = number % std::max(1, CPU_COUNT(&usable));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &usable) || left-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
    return;
  }
}

// Runs body(thread, burst) on `threads` threads that start together, for burst = 0 .. bursts-1. Returns the
// time of the shortest burst in seconds.
double ShortestTogether(int threads, int bursts, const std::function<void(int, int)>& body) {
  double best = 1e30;
  cpu_set_t usable;
  CPU_ZERO(&usable);
  const bool known = sched_getaffinity(0, sizeof(usable), &usable) == 0;
  StayOn(usable, 0);
  for (int burst = 0; burst < bursts; ++burst) {
    std::atomic<int> ready{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) {
      others.emplace_back([&, t, burst] {
        StayOn(usable, t);
        ready.fetch_add(1);
        while (!go.load()) std::this_thread::yield();
        body(t, burst);
      });
    }
    while (ready.load() != threads - 1) std::this_thread::yield();
    const auto start = Clock::now();
    go.store(true);
    body(0, burst);
    for (std::thread& other : others) other.join();
    best = std::min(best, Since(start));
  }
  if (known) (void)sched_setaffinity(0, sizeof(usable), &usable);
  return best;
}

// Bursts of arithmetic are short, so that some of them run undisturbed on a machine that other processes use.
constexpr int kBursts = 60;
constexpr int kSteps = 100'000;
constexpr int kChains = 12;  // independent sums; more than latency times issue width of current CPUs

// Twelve chains in registers 1 .. 12. It is assembler because a compiler removes or reorders a loop that has
// no result.
// clang-format off
#define PREFIXD_CHAIN(op, r, n) op " %%" r "0, %%" r "0, %%" r #n "\n\t"
#define PREFIXD_CHAINS(op, r)                                                                            \
  PREFIXD_CHAIN(op, r, 1) PREFIXD_CHAIN(op, r, 2) PREFIXD_CHAIN(op, r, 3) PREFIXD_CHAIN(op, r, 4)        \
  PREFIXD_CHAIN(op, r, 5) PREFIXD_CHAIN(op, r, 6) PREFIXD_CHAIN(op, r, 7) PREFIXD_CHAIN(op, r, 8)        \
  PREFIXD_CHAIN(op, r, 9) PREFIXD_CHAIN(op, r, 10) PREFIXD_CHAIN(op, r, 11) PREFIXD_CHAIN(op, r, 12)
#define PREFIXD_CLOBBERS                                                                                 \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12"
#define PREFIXD_BURST(name, op, r)                                                                       \
  void name() {                                                                                          \
    for (int step = 0; step < kSteps; ++step) asm volatile(PREFIXD_CHAINS(op, r)::: PREFIXD_CLOBBERS);   \
    asm volatile("vzeroupper" ::: PREFIXD_CLOBBERS);                                                     \
  }
PREFIXD_BURST(FmaAvx2Burst, "vfmadd231ps", "ymm")
PREFIXD_BURST(PairsAvx2Burst, "vpmaddubsw", "ymm")
PREFIXD_BURST(FmaAvx512Burst, "vfmadd231ps", "zmm")
PREFIXD_BURST(PairsAvx512Burst, "vpmaddubsw", "zmm")
PREFIXD_BURST(DotsBF16Burst, "vdpbf16ps", "zmm")
PREFIXD_BURST(DotsInt8Burst, "vpdpbusd", "zmm")
// clang-format on

struct InstructionRow {
  const char* name;
  const char* needs;
  bool (*here)();  // the builtin also checks that the operating system saves the registers
  double ops;      // multiplications and additions of one instruction
  void (*burst)();
};

const InstructionRow& RowOf(Instruction instruction) {
  static constexpr InstructionRow kRows[] = {
      {"fma avx2", "AVX2 and FMA",
       [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, 16, FmaAvx2Burst},
      {"int8 pairs avx2", "AVX2", [] { return __builtin_cpu_supports("avx2") != 0; }, 64, PairsAvx2Burst},
      {"fma avx512", "AVX-512 F", [] { return __builtin_cpu_supports("avx512f") != 0; }, 32, FmaAvx512Burst},
      {"int8 pairs avx512", "AVX-512 BW", [] { return __builtin_cpu_supports("avx512bw") != 0; }, 128,
       PairsAvx512Burst},
      {"bf16 dots", "AVX-512 BF16", [] { return __builtin_cpu_supports("avx512bf16") != 0; }, 64,
       DotsBF16Burst},
      {"int8 dots", "AVX-512 VNNI", [] { return __builtin_cpu_supports("avx512vnni") != 0; }, 128,
       DotsInt8Burst},
  };
  return kRows[static_cast<size_t>(instruction)];
}

// XORs n words as two concurrent streams of whole cache lines. One stream does not saturate the memory of
// every machine.
uint64_t Fold(const uint64_t* data, size_t n) {
  using Vector [[gnu::vector_size(16)]] = uint64_t;
  Vector folds[4] = {};
  const auto* first = reinterpret_cast<const Vector*>(data);
  const size_t half = n / 4;  // vectors per stream
  for (size_t i = 0; i + 4 <= half; i += 4) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) folds[j] ^= first[i + j] ^ first[half + i + j];
  }
  const Vector all = folds[0] ^ folds[1] ^ folds[2] ^ folds[3];
  return all[0] ^ all[1];
}

std::string CpuModel() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

}  // namespace

Machine DescribeMachine() {
  Machine machine;
  machine.cpu = CpuModel();
  machine.cpus = CountUsableCpus().count;
  const std::pair<const char*, bool> features[] = {
      {"avx2", __builtin_cpu_supports("avx2")},
      {"fma", __builtin_cpu_supports("fma")},
      {"f16c", __builtin_cpu_supports("f16c")},
      {"avx512f", __builtin_cpu_supports("avx512f")},
      {"avx512bw", __builtin_cpu_supports("avx512bw")},
      {"avx512vnni", __builtin_cpu_supports("avx512vnni")},
      {"avx512bf16", __builtin_cpu_supports("avx512bf16")},
      {"amxint8", cpu::AmxRunsHere()},
  };
  for (const auto& [name, here] : features) {
    if (here) machine.features.push_back(name);
  }
  return machine;
}

const char* NameOf(Instruction instruction) { return RowOf(instruction).name; }
const char* NeedsOf(Instruction instruction) { return RowOf(instruction).needs; }

double OpsPerSecond(Instruction instruction, int threads) {
  const InstructionRow& row = RowOf(instruction);
  if (!row.here()) return 0;
  const double ops = row.ops * kChains * kSteps * threads;
  return ops / ShortestTogether(threads, kBursts, [&](int, int) { row.burst(); });
}

double ReadBytesPerSecond(int threads) {
  constexpr size_t kBytes = size_t{512} << 20;
  constexpr int kPasses = 16;
  auto memory = HostMemory::Allocate(kBytes);
  if (!memory.ok()) return 0;
  auto* words = reinterpret_cast<uint64_t*>(memory->data());
  // Unwritten memory is one shared zero page: writing allocates the pages.
  for (size_t i = 0; i < kBytes / 8; i += 8) words[i] = i;
  const size_t share = kBytes / 8 / threads / 64 * 64;
  std::atomic<uint64_t> sink{0};
  const double seconds = ShortestTogether(
      threads, kPasses, [&](int thread, int) { sink.fetch_xor(Fold(words + thread * share, share)); });
  return static_cast<double>(share * 8 * threads) / seconds;
}

}  // namespace prefixd::bench
