#include "daemon/serve_plan.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "base/bytes.h"
#include "base/utf8.h"
#include "daemon/http/listen.h"
#include "daemon/kv_events.h"
#include "daemon/limit_table.h"
#include "daemon/relaunch.h"
#include "daemon/serve_plan_memory.h"
#include "kernels/registry.h"
#include "storage/disk_store.h"

namespace prefixd {
namespace {

constexpr uintmax_t kMaxFileBytes = Limit<uintmax_t>("option-file-bytes");

Result<std::string> ReadFile(std::string_view option, const std::string& path) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!error && !in) error = std::error_code(errno, std::generic_category());
  if (error) {
    return InvalidArgument(std::string(option) + ": cannot read '" + path + "'" +
                           (error.value() != 0 ? ": " + error.message() : ""));
  }
  if (bytes > kMaxFileBytes)
    return InvalidArgument(std::string(option) + ": '" + path + "' exceeds " + FormatSize(kMaxFileBytes));
  return std::string(std::istreambuf_iterator<char>(in), {});
}

Status ResolveBackend(const std::string& name, ServePlan* plan) {
  std::string reasons;
  for (const BackendInfo& backend : ListBackends()) {
    if (name == "auto" ? backend.ForAuto() : backend.runs_here && name == backend.name)
      plan->backend = backend.name;
    if (!backend.runs_here && name == backend.name) reasons = backend.reason;
    if (name == "auto" && backend.name == "cuda" && (backend.installed || WasRelaunched()))
      plan->without_cuda = backend.reason;
  }
  if (!plan->backend.empty()) return Status::Ok();
  const std::string message = "backend: '" + name + "' does not run here" +
                              (reasons.empty() ? "" : ": " + reasons) + "; see prefixd version";
  // It did before the device was lost, so the option is right, and a later start may find the device again.
  return WasRelaunched() ? Unavailable(message) : InvalidArgument(message);
}

// The fastest backend that computes on the CPU.
std::string_view BestOfCpu() {
  std::string_view best;
  for (const BackendInfo& backend : ListBackends())
    if (backend.ForAuto() && backend.name != "cuda") best = backend.name;
  return best;
}

UsableCpus ComputeThreads(const Options& options, const std::string& backend) {
  if (backend == "ref" || backend == "cuda") return {1, "backend " + backend};
  if (options.threads != kAuto) return {static_cast<int>(options.threads), "option threads"};
  return CountUsableCpus();
}

// Whoever reaches the first listener takes the machine's time, and on the admin listener one sees who does.
Status CheckListen(const Options& options, bool has_keys) {
  if (has_keys) return Status::Ok();
  const auto check = [](std::string_view option, const std::string& listen, std::string_view remedy) {
    const bool other = SplitAddress(listen, "").ok() && !IsLocalAddress(listen);  // or none, or no address
    if (!other) return Status::Ok();
    return InvalidArgument(std::string(option) + ": others than this machine can reach " + listen +
                           ", and no key is required: give --api-keys FILE" + std::string(remedy) +
                           ", or listen on 127.0.0.1:PORT or unix:PATH");
  };
  PREFIXD_RETURN_IF_ERROR(check("admin-listen", options.admin_listen, " as well"));
  if (options.allow_no_keys) return Status::Ok();
  return check("listen", options.listen, " or --allow-no-keys");
}

Result<KvType> KvTypeOf(const Options& options, const ModelConfig& config, const std::string& backend) {
  const KvType of_weights = config.dtype.value_or(DType::kF32);
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0, KvType::kFp8}) {
    if (options.kv_dtype != type.name()) continue;
    if (type == KvType::kFp8 && backend != "cuda") {
      return InvalidArgument("kv-dtype: the backend " + backend +
                             " has no kernels for fp8 KV; choose --kv-dtype q8_0, or --backend cuda");
    }
    if (type.Fits(config.head_dim)) return type;
    return InvalidArgument("kv-dtype: " + std::string(type.name()) + " takes heads of a multiple of " +
                           std::to_string(kQuantBlock) + " dimensions, and those of this model have " +
                           std::to_string(config.head_dim) + "; choose --kv-dtype " +
                           std::string(of_weights.name()));
  }
  return of_weights;
}

// Sets *chat_template to the text of the one to use instead of the model's.
Status FillConfiguration(const Options& options, ServePlan* plan, std::string* chat_template) {
  if (!options.api_keys.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(plan->api_keys, ReadApiKeys("api-keys", options.api_keys));
  }
  PREFIXD_RETURN_IF_ERROR(CheckListen(options, !plan->api_keys.empty()));
  PREFIXD_ASSIGN_OR_RETURN(plan->tls, ReadTlsFiles(options));
  PREFIXD_RETURN_IF_ERROR(CheckKvEvents(options));
  if (!options.chat_template.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(*chat_template, ReadFile("chat-template", options.chat_template));
  }
  Result<CorsPolicy> cors = CorsPolicy::Parse(options.cors_origin);
  if (!cors.ok()) return InvalidArgument("cors-origin: " + cors.status().message());
  plan->cors = *std::move(cors);
  PREFIXD_RETURN_IF_ERROR(ResolveBackend(options.backend, plan));
  plan->cuda = {static_cast<int>(options.device), options.deterministic, options.product_choices};
  if (options.activations == "f32") {
    if (plan->backend == "cuda") {
      return InvalidArgument(
          "activations: the backend cuda rounds activations to the type of the weights; "
          "f32 needs a backend of the CPU");
    }
    plan->numerics = numerics::Version::kCpu1;
  }
  for (const WeightFormat format : {WeightFormat::kQ8_0, WeightFormat::kQ4_0})
    if (options.quantize == format.name()) plan->quantize = format;
  plan->threads = ComputeThreads(options, plan->backend);
  return Status::Ok();
}

Status FillLimits(const Options& options, Backend& backend, ServePlan* plan) {
  const ModelSummary& model = plan->model;
  const ModelConfig& config = model.config;
  PREFIXD_ASSIGN_OR_RETURN(plan->kv_dtype, KvTypeOf(options, config, plan->backend));
  const uint64_t program = ProgramBytes(options, plan->threads.count);
  const KvLayout layout = ShapeOf(config).Kv(static_cast<int>(options.block_tokens), plan->kv_dtype);
  PREFIXD_ASSIGN_OR_RETURN(plan->tiers, MakeTierPlan(options, layout));
  PREFIXD_ASSIGN_OR_RETURN(plan->device_info, backend.Device());
  std::optional<MemoryState> device;
  if (plan->device_info) device = {plan->device_info->free_bytes, plan->device_info->bytes};
  const int step_tokens = StepTokens(options, device.has_value());
  const ModelRequirements facts{.max_positions = config.max_positions,
                                .max_positions_reason = config.max_positions_reason,
                                .kv = layout,
                                .device = device,
                                .other_parts = [&](int context, uint32_t blocks) {
                                  return PartsBesideKv(options, model, backend, plan->tiers, layout, program,
                                                       step_tokens, context, blocks);
                                }};
  PREFIXD_ASSIGN_OR_RETURN(plan->limits, DeriveEngineLimits(options, facts, plan->memory));
  plan->limits.warnings.insert(plan->limits.warnings.end(), plan->tiers.warnings.begin(),
                               plan->tiers.warnings.end());
  // Beside what is guaranteed, a sequence of the whole context finds room, and a copy of a block.
  const auto of_sequence = static_cast<uint64_t>(plan->limits.context / plan->limits.block_tokens + 2);
  plan->cache_room = {
      (plan->limits.blocks - std::min<uint64_t>(plan->limits.blocks, of_sequence)) * layout.BlockBytes(),
      plan->tiers.host_blocks * uint64_t{layout.BlockBytes()},
      plan->tiers.disk.on ? DiskStore::MostHeld(plan->tiers.disk.capacity) : 0};
  return CheckTenantCaches(plan->api_keys, plan->cache_room);
}

}  // namespace

Result<std::vector<ApiKey>> ReadApiKeys(std::string_view option, const std::string& path) {
  const std::string file = std::string(option) + ": '" + path + "'";
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(option, path));
  Result<std::vector<ApiKey>> keys = ParseApiKeys(text);
  if (!keys.ok()) return keys.status().WithContext(file);
  if (keys->empty()) return InvalidArgument(file + " contains no key, so every request would be rejected");
  return keys;
}

Result<std::shared_ptr<const TlsFiles>> ReadTlsFiles(const Options& options) {
  if (options.tls_cert.empty() && options.tls_key.empty()) return std::shared_ptr<const TlsFiles>();
  if (options.tls_cert.empty()) return InvalidArgument("tls-key: give tls-cert as well");
  if (options.tls_key.empty()) return InvalidArgument("tls-cert: give tls-key as well");
  if (options.listen.starts_with("unix:")) {
    return InvalidArgument("tls-cert: a Unix socket takes no TLS; leave it out, or listen on ADDR:PORT");
  }
  return TlsContext::Read(options.tls_cert, options.tls_key);
}

Result<std::string> ReadClientKey(std::string_view option, const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(option, path));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (!line.empty() && line.front() != '#' && !IsHashedEntry(line)) return line;
  }
  return InvalidArgument(std::string(option) + ": '" + path + "' contains no key that can be sent");
}

Result<ServePlan> MakeServePlan(const Options& options, const MemoryState& memory, ExitCode* code) {
  ServePlan plan;
  plan.memory = memory;
  *code = kExitUsage;
  std::string chat_template;
  if (Status filled = FillConfiguration(options, &plan, &chat_template); !filled.ok()) {
    if (filled.code() == Code::kUnavailable) *code = kExitFailed;
    return filled;
  }
  // It is asked for sizes only, and the daemon creates another one when it loads the model.
  Result<std::unique_ptr<Backend>> backend =
      CreateBackend(plan.backend, plan.threads.count, plan.cuda, plan.numerics);
  if (options.backend == "auto" && backend.status().code() == Code::kUnsupported) {
    plan.without_cuda = backend.status().message();  // a device without kernels
    plan.backend = BestOfCpu();
    plan.threads = ComputeThreads(options, plan.backend);
    backend = CreateBackend(plan.backend, plan.threads.count, plan.cuda, plan.numerics);
  }
  plan.replaces_lost_device = WasRelaunched() && !plan.without_cuda.empty();
  if (!backend.ok()) {
    // A device that fails, or that others have filled, may be well again later.
    const Code why = backend.status().code();
    if (why == Code::kUnavailable || why == Code::kResourceExhausted) *code = kExitFailed;
    return backend.status();
  }
  *code = kExitModelRefused;
  const WeightSource weights = options.load == "dummy" ? WeightSource::kDummy : WeightSource::kFiles;
  PREFIXD_ASSIGN_OR_RETURN(DescribedModel described, DescribeModel(options.model, chat_template, weights));
  PREFIXD_ASSIGN_OR_RETURN(plan.model, SummarizeModel(described, **backend, plan.quantize));
  plan.described = std::make_unique<DescribedModel>(std::move(described));
  if (plan.backend != "cuda" && std::ranges::count(plan.model.formats, WeightFormat::kBF16) > 0)
    plan.bf16_products = DescribeBf16Products(plan.backend, plan.numerics, ListBackends());
  // Limits that were for the device may not fit the host.
  *code = plan.replaces_lost_device ? kExitFailed : kExitUsage;
  if (Status filled = FillLimits(options, **backend, &plan); !filled.ok()) {
    if (filled.code() == Code::kUnavailable) *code = kExitFailed;
    return filled;
  }
  plan.served_name = options.served_model_name.empty() ? plan.model.served_name : options.served_model_name;
  if (!IsValidUtf8(plan.served_name)) {
    return InvalidArgument("served-model-name: '" + RepairUtf8(plan.served_name) +
                           "' is not valid UTF-8, but responses and metrics must be");
  }
  *code = kExitOk;
  return plan;
}

}  // namespace prefixd
