#include "kernels/cuda/module_loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace prefixd::cuda {
namespace {

// In this order: the layout of what follows `version` belongs to the ABI.
Status CheckModule(const Module& module, const std::string& path) {
  const std::string build_again = "; build the module again";
  if (module.abi != kModuleAbi) {
    return Unsupported(path + " has the module ABI " + std::to_string(module.abi) +
                       ", and this program has " + std::to_string(kModuleAbi) + build_again);
  }
  if (std::string_view(module.version) != PREFIXD_VERSION) {
    return Unsupported(path + " belongs to prefixd " + module.version + ", and this is " + PREFIXD_VERSION +
                       build_again);
  }
  if (module.table != KernelTableHash() || module.kernels != kKernels) {
    return Unsupported(path + " has other kernels than this program needs" + build_again);
  }
  return Status::Ok();
}

}  // namespace

std::string ModulePath() {
  char program[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof program);
  if (length <= 0) return kModuleFile;
  const std::string_view path(program, static_cast<size_t>(length));
  return std::string(path.substr(0, path.rfind('/') + 1)) + kModuleFile;
}

Result<const Module*> LoadModule(const std::string& path) {
  if (access(path.c_str(), F_OK) != 0) return NotFound("there is no file " + path);
  // Local: the module brings its own copies of the functions that it shares with this program.
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const why = dlerror();
    return IoError("cannot load " + (why != nullptr ? std::string(why) : path));
  }
  const auto entry = reinterpret_cast<ModuleEntry>(dlsym(library, kModuleEntry));
  if (entry == nullptr) {
    dlclose(library);
    return Unsupported(path + " is not a module of prefixd: it lacks " + kModuleEntry);
  }
  const Module* const module = entry();
  if (Status checked = CheckModule(*module, path); !checked.ok()) {
    dlclose(library);
    return checked;
  }
  return module;
}

ModuleState StateOf(const std::string& path) {
  ModuleState state;
  state.present = access(path.c_str(), F_OK) == 0;
  if (!state.present) {
    state.reason = std::string(kModuleFile) + " is not beside the program";
    return state;
  }
  const Result<const Module*> module = LoadModule(path);
  if (!module.ok()) {
    state.reason = module.status().message();
    return state;
  }
  state.module = *module;
  if (const Status counted = state.module->count_devices(&state.devices); !counted.ok()) {
    state.devices = 0;
    state.reason = counted.message();
  }
  return state;
}

const ModuleState& FindModule() {
  static const ModuleState state = StateOf(ModulePath());
  return state;
}

Result<std::unique_ptr<CudaRuntime>> CreateRuntime(const ModuleState& state, int device) {
  PREFIXD_CHECK(device >= 0) << device;
  if (state.devices == 0) return Unsupported(state.reason);
  if (device >= state.devices) {
    return NotFound("there is no CUDA device " + std::to_string(device) + "; the last one is " +
                    std::to_string(state.devices - 1));
  }
  std::unique_ptr<CudaRuntime> runtime;
  PREFIXD_RETURN_IF_ERROR(state.module->create_runtime(device, &runtime));
  return runtime;
}

Result<std::unique_ptr<CudaRuntime>> CreateRuntime(int device) { return CreateRuntime(FindModule(), device); }

}  // namespace prefixd::cuda
