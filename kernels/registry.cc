#include "kernels/registry.h"

#include <cpuid.h>

#include <utility>

#include "base/usable_cpus.h"
#include "kernels/cpu/amx.h"
#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/dots_probe.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/module_loader.h"
#include "kernels/host/host_backend.h"
#include "kernels/ref/ref_operations.h"

namespace prefixd {
namespace {

constexpr std::string_view kCuda = "cuda";

// What keeps a backend from running here, or from being chosen by "auto"; see BackendInfo.
struct Obstacles {
  std::string reason, passed_over;
};

// A backend of the CPU.
struct Entry {
  std::string_view name;
  Obstacles (*obstacles)();
  std::unique_ptr<Operations> (*create)(int threads, numerics::Version version);
};

// The builtins below also check that the operating system saves the wide registers. F16C needs CPUID
// directly, because clang 16 has no builtin name for it.
bool HasF16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c(); }
bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

Obstacles OfAvx2() { return {HasAvx2() ? "" : "needs a CPU with AVX2, FMA and F16C", ""}; }
Obstacles OfAvx512() { return {HasAvx512() ? "" : "needs a CPU with AVX-512 F, BW, VL and DQ", ""}; }
Obstacles TryDots() {
  if (!HasAvx512() || !__builtin_cpu_supports("avx512bf16"))
    return {"needs a CPU with AVX-512 F, BW, VL, DQ and BF16", ""};
  const cpu::Ops &dots = cpu::Avx512Bf16Ops(), &fma = cpu::Avx512Ops();
  std::string wrong = cpu::WrongBits(cpu::CompareDots(dots, fma));
  if (!wrong.empty()) return {std::move(wrong), ""};
  return {"", cpu::TooSlow(cpu::TimeOfDots(dots, fma))};
}
Obstacles OfAvx512Bf16() {
  static const Obstacles kObstacles = TryDots();
  return kObstacles;
}

// Of AVX-512, for products of quantised weights: the backends that have it use it where it is there.
const cpu::QuantOps& QuantOpsOfAvx512() {
  if (cpu::AmxRunsHere()) return cpu::AmxQuantOps();
  return __builtin_cpu_supports("avx512vnni") ? cpu::Avx512VnniQuantOps() : cpu::Avx512QuantOps();
}

constexpr Entry kBackends[] = {
    {"ref", [] { return Obstacles(); },
     [](int, numerics::Version version) { return CreateRefOperations(version); }},
    {"avx2", OfAvx2,
     [](int threads, numerics::Version version) {
       return CreateCpuOperations("avx2", cpu::Avx2Ops(), cpu::Avx2QuantOps(), threads, version);
     }},
    {"avx512", OfAvx512,
     [](int threads, numerics::Version version) {
       return CreateCpuOperations("avx512", cpu::Avx512Ops(), QuantOpsOfAvx512(), threads, version);
     }},
    {"avx512bf16", OfAvx512Bf16,
     [](int threads, numerics::Version version) {
       return CreateCpuOperations("avx512bf16", cpu::Avx512Bf16Ops(), QuantOpsOfAvx512(), threads, version);
     }},
};

BackendInfo InfoOf(const Entry& entry) {
  Obstacles found = entry.obstacles();
  return {.name = entry.name,
          .runs_here = found.reason.empty(),
          .reason = std::move(found.reason),
          .passed_over = std::move(found.passed_over)};
}

std::string Names() {
  std::string names = "auto";
  for (const Entry& entry : kBackends) names.append(", ").append(entry.name);
  return names.append(", ").append(kCuda);
}

Status DoesNotRun(std::string_view name, std::string_view reason) {
  return Unsupported("backend '" + std::string(name) + "' does not run here: " + std::string(reason));
}

}  // namespace

std::vector<BackendInfo> ListBackends() {
  std::vector<BackendInfo> list;
  for (const Entry& entry : kBackends) list.push_back(InfoOf(entry));
  const cuda::ModuleState& module = cuda::FindModule();
  list.push_back({kCuda, module.devices > 0, module.reason, module.present});
  return list;
}

Result<std::unique_ptr<Operations>> CreateOperations(std::string_view name, int threads,
                                                     numerics::Version version) {
  PREFIXD_CHECK(threads >= 0) << threads;
  if (name == kCuda) return Unsupported("backend 'cuda' has no operations on the CPU");
  const Entry* chosen = nullptr;
  for (const Entry& entry : kBackends) {
    if (name == entry.name || (name == "auto" && InfoOf(entry).ForAuto())) chosen = &entry;
  }
  if (chosen == nullptr)
    return NotFound("no backend '" + std::string(name) + "'; the backends are: " + Names());
  if (const BackendInfo info = InfoOf(*chosen); !info.runs_here) return DoesNotRun(name, info.reason);
  return chosen->create(threads == 0 ? CountUsableCpus().count : threads, version);
}

Result<std::unique_ptr<Backend>> CreateBackend(std::string_view name, int threads, const CudaOptions& options,
                                               numerics::Version version) {
  PREFIXD_CHECK(threads >= 0 && options.device >= 0) << threads << ", " << options.device;
  if (name == kCuda || name == "auto") {
    const cuda::ModuleState& module = cuda::FindModule();
    if (module.devices > 0) {
      PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<cuda::CudaRuntime> runtime,
                               cuda::CreateRuntime(options.device));
      return cuda::CreateCudaBackend(std::move(runtime), options.deterministic, options.product_choices);
    }
    if (name == kCuda) return DoesNotRun(name, module.reason);
  }
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Operations> operations, CreateOperations(name, threads, version));
  return CreateHostBackend(std::move(operations));
}

}  // namespace prefixd
