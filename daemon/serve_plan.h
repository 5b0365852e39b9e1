// ServePlan: everything that `serve` derives from its options before it reads weights. The files are checked,
// the model's headers are read, and the limits
// and the memory plan are derived. `validate` prints it (serve_plan_report.h).
//
// Threads: the main thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/usable_cpus.h"
#include "daemon/api/api_key.h"
#include "daemon/bf16_products.h"
#include "daemon/exit_code.h"
#include "daemon/http/cors.h"
#include "daemon/http/tls.h"
#include "daemon/memory_limit.h"
#include "daemon/options.h"
#include "daemon/sizing.h"
#include "daemon/tenant_caches.h"
#include "daemon/tier_plan.h"
#include "engine/engine.h"
#include "engine/loaded_model.h"
#include "kernels/backend.h"
#include "kernels/numerics.h"
#include "kernels/registry.h"

namespace prefixd {

struct ServePlan {
  std::vector<ApiKey> api_keys;         // none: no key is required
  std::shared_ptr<const TlsFiles> tls;  // null: connections are plain
  CorsPolicy cors;
  ModelSummary model;
  std::unique_ptr<DescribedModel> described;  // the same model, for LoadEngine; null once it is taken
  std::string served_name;
  std::string backend;  // resolved: "auto" is replaced by the name of the fastest backend
  CudaOptions cuda;
  numerics::Version numerics = numerics::kLatest;  // of a CPU backend
  // Why the backend is not cuda: "auto" was asked for, and the module is installed without a device that it
  // has kernels for. Or empty.
  std::string without_cuda;
  bool replaces_lost_device = false;  // the same, where the process began anew after the device was lost
  std::optional<Bf16Products> bf16_products;  // of a CPU backend, where matrices are bf16
  UsableCpus threads;                         // that compute; the source is the option, if it says the number
  Quantization quantize;
  KvType kv_dtype;
  MemoryState memory;  // when the plan was made
  // The device with a memory of its own, as it was then: it has the parts of the plan that the backend has.
  std::optional<DeviceInfo> device_info;
  TierPlan tiers;
  EngineLimits limits;
  CacheRoom cache_room{};  // that can be guaranteed to tenants
};

// The entries of a file of keys (daemon/api/api_key.h). kInvalidArgument names the option: the file cannot be
// read, has no key, or a line of it is wrong.
Result<std::vector<ApiKey>> ReadApiKeys(std::string_view option, const std::string& path);
// The first key of such a file that a client can send: one of which the file has more than the hash.
Result<std::string> ReadClientKey(std::string_view option, const std::string& path);

// The files of tls-cert and tls-key; null without them. kInvalidArgument names the option.
Result<std::shared_ptr<const TlsFiles>> ReadTlsFiles(const Options& options);

// On an error *code is the exit code to use.
Result<ServePlan> MakeServePlan(const Options& options, const MemoryState& memory, ExitCode* code);

}  // namespace prefixd
