#include "daemon/plan.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/bytes.h"
#include "base/utf8.h"
#include "kernels/registry.h"

namespace prefixd {
namespace {

constexpr uintmax_t kLargestFile = 1 << 20;

Result<std::string> ReadFile(std::string_view option, const std::string& path) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  std::ifstream in(path, std::ios::binary);
  if (error || !in) return InvalidArgument(std::string(option) + ": cannot read '" + path + "'");
  if (bytes > kLargestFile)
    return InvalidArgument(std::string(option) + ": '" + path + "' is over " + FormatSize(kLargestFile));
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// One key per line; empty lines and lines that begin with '#' are passed over.
Result<std::vector<std::string>> ReadApiKeys(const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile("api-keys", path));
  std::vector<std::string> keys;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string key = text.substr(begin, end - begin);
    // A header's value never ends in a blank, so such a key could not be presented.
    key.erase(key.find_last_not_of(" \t\r") + 1);
    if (!key.empty() && key.front() != '#') keys.push_back(std::move(key));
    begin = end + 1;
  }
  if (keys.empty())
    return InvalidArgument("api-keys: '" + path + "' has no key in it, so nobody would be let in");
  return keys;
}

Result<std::string> ResolveBackend(const std::string& name) {
  std::string best, reasons;
  for (const BackendInfo& backend : ListBackends()) {
    if (backend.runs_here && (name == "auto" || name == backend.name)) best = backend.name;
    if (!backend.runs_here && name == backend.name) reasons = backend.reason;
  }
  if (!best.empty()) return best;
  return InvalidArgument("backend: '" + name + "' does not run here" +
                         (reasons.empty() ? "" : ": " + reasons) + "; see prefixd version");
}

DType KvDType(const Options& options, const ModelConfig& config) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (options.kv_dtype == DTypeName(dtype)) return dtype;
  }
  return config.dtype.value_or(DType::kF32);
}

Status FillConfiguration(const Options& options, Plan* plan) {
  if (!options.api_keys.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(plan->api_keys, ReadApiKeys(options.api_keys));
  }
  if (!options.chat_template.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(plan->chat_template, ReadFile("chat-template", options.chat_template));
  }
  PREFIXD_ASSIGN_OR_RETURN(plan->backend, ResolveBackend(options.backend));
  return Status::Ok();
}

Status FillLimits(const Options& options, uint64_t available, Plan* plan) {
  const ModelConfig& config = plan->model.config;
  plan->kv_dtype = KvDType(options, config);
  const ModelFacts facts{.max_positions = config.max_positions,
                         .weight_bytes = plan->model.weight_bytes,
                         .kv = {.layers = config.layers,
                                .kv_heads = config.kv_heads,
                                .head_dim = config.head_dim,
                                .block_tokens = static_cast<int>(options.block_tokens),
                                .dtype = plan->kv_dtype}};
  PREFIXD_ASSIGN_OR_RETURN(plan->limits, DeriveLimits(options, facts, available));
  return Status::Ok();
}

}  // namespace

Result<Plan> MakePlan(const Options& options, uint64_t available_memory, ExitCode* code) {
  Plan plan;
  *code = kExitWrongUsage;
  PREFIXD_RETURN_IF_ERROR(FillConfiguration(options, &plan));
  *code = kExitModelRefused;
  PREFIXD_ASSIGN_OR_RETURN(plan.model, SummarizeModel(options.model, plan.chat_template));
  *code = kExitWrongUsage;
  PREFIXD_RETURN_IF_ERROR(FillLimits(options, available_memory, &plan));
  plan.served_name = options.served_model_name.empty() ? plan.model.served_name : options.served_model_name;
  if (!IsValidUtf8(plan.served_name)) {
    return InvalidArgument("served-model-name: '" + RepairUtf8(plan.served_name) +
                           "' is not UTF-8, which answers and metrics are");
  }
  *code = kExitWell;
  return plan;
}

std::string PlanAsText(const Plan& plan) {
  std::vector<std::pair<std::string, std::string>> lines = {
      {"model", plan.served_name},
      {"architecture", CanonicalArchitecture(plan.model.config)},
      {"parameters", std::to_string(plan.model.parameters)},
      {"weights", FormatSize(plan.model.weight_bytes)},
      {"chat template", !plan.chat_template.empty() ? "from the option"
                        : plan.model.chat_template  ? "the model's"
                                                    : "none"},
      {"backend", plan.backend},
      {"kv-dtype", std::string(DTypeName(plan.kv_dtype))},
      {"api keys", plan.api_keys.empty() ? "none: everyone is let in" : std::to_string(plan.api_keys.size())},
  };
  std::ranges::copy(DescribeLimits(plan.limits), std::back_inserter(lines));
  std::string text;
  for (const auto& [name, value] : lines) {
    text += name + ":" + std::string(name.size() < 14 ? 15 - name.size() : 1, ' ') + value + "\n";
  }
  return text;
}

std::string PlanAsJson(const Plan& plan) {
  const Limits& limits = plan.limits;
  return boost::json::serialize(boost::json::object{
      {"schema", 1},
      {"ok", true},
      {"model", plan.served_name},
      {"architecture", CanonicalArchitecture(plan.model.config)},
      {"parameters", plan.model.parameters},
      {"weight_bytes", plan.model.weight_bytes},
      {"has_chat_template", plan.model.chat_template.has_value()},
      {"backend", plan.backend},
      {"kv_dtype", std::string(DTypeName(plan.kv_dtype))},
      {"kv_bytes_per_token", limits.kv_bytes_per_token},
      {"device_cache_bytes", limits.device_cache_bytes},
      {"blocks", limits.blocks},
      {"block_tokens", limits.block_tokens},
      {"context", limits.context},
      {"longest_context", limits.longest_context},
      {"max_positions", plan.model.config.max_positions},
      {"max_sequences", limits.max_sequences},
      {"step_tokens", limits.step_tokens},
      {"max_queue", limits.max_queue},
  });
}

}  // namespace prefixd
