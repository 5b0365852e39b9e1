#include "kernels/registry.h"

#include <cpuid.h>

#include <utility>

#include "base/usable_cpus.h"
#include "kernels/cpu/cpu_operations.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/module_loader.h"
#include "kernels/host/host_backend.h"
#include "kernels/ref/ref_operations.h"

namespace prefixd {
namespace {

constexpr std::string_view kCuda = "cuda";

// A backend of the CPU.
struct Entry {
  std::string_view name;
  bool (*runs_here)();
  std::string_view needs;  // the reason given when it does not run here
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

constexpr Entry kBackends[] = {
    {"ref", [] { return true; }, "",
     [](int, numerics::Version version) { return CreateRefOperations(version); }},
    {"avx2", HasAvx2, "needs a CPU with AVX2, FMA and F16C",
     [](int threads, numerics::Version version) {
       return CreateCpuOperations("avx2", cpu::Avx2Ops(), threads, version);
     }},
    {"avx512", HasAvx512, "needs a CPU with AVX-512 F, BW, VL and DQ",
     [](int threads, numerics::Version version) {
       return CreateCpuOperations("avx512", cpu::Avx512Ops(), threads, version);
     }},
};

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
  for (const Entry& entry : kBackends) {
    const bool runs = entry.runs_here();
    list.push_back({entry.name, runs, runs ? "" : std::string(entry.needs)});
  }
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
    if (name == "auto" ? entry.runs_here() : name == entry.name) chosen = &entry;
  }
  if (chosen == nullptr)
    return NotFound("no backend '" + std::string(name) + "'; the backends are: " + Names());
  if (!chosen->runs_here()) return DoesNotRun(name, chosen->needs);
  return chosen->create(threads == 0 ? CountUsableCpus().count : threads, version);
}

Result<std::unique_ptr<Backend>> CreateBackend(std::string_view name, int threads, int device,
                                               bool deterministic, numerics::Version version) {
  PREFIXD_CHECK(threads >= 0 && device >= 0) << threads << ", " << device;
  if (name == kCuda || name == "auto") {
    const cuda::ModuleState& module = cuda::FindModule();
    if (module.devices > 0) {
      PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<cuda::CudaRuntime> runtime, cuda::CreateRuntime(device));
      return cuda::CreateCudaBackend(std::move(runtime), deterministic);
    }
    if (name == kCuda) return DoesNotRun(name, module.reason);
  }
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Operations> operations, CreateOperations(name, threads, version));
  return CreateHostBackend(std::move(operations));
}

}  // namespace prefixd
