#include "kernels/cpu/amx.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace prefixd::cpu {
namespace {

// Of CPUID leaf 7 in EDX, and of XCR0: the operating system saves the tiles.
constexpr unsigned kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
constexpr uint64_t kTileState = uint64_t{3} << 17;

bool CpuHasAmx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((edx & kAmxTile) == 0 || (edx & kAmxInt8) == 0) return false;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_OSXSAVE) == 0) return false;
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t{high} << 32 | low) & kTileState) == kTileState;
}

// The names are those of <asm/prctl.h>, which Debian 12 does not have all of.
bool LinuxPermitsTiles() {
  constexpr long kArchReqXcompPerm = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

}  // namespace

bool AmxRunsHere() noexcept {
  static const bool kRuns = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("avx512vnni") && CpuHasAmx() && LinuxPermitsTiles();
  return kRuns;
}

}  // namespace prefixd::cpu
