#include "daemon/serve_settings.h"

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/relaunch.h"
#include "daemon/service_socket.h"
#include "daemon/version.h"

namespace prefixd {

SamplingParams SamplingDefaults(const GenerationDefaults& recommended) {
  SamplingParams sampling;
  sampling.temperature = recommended.temperature.value_or(sampling.temperature);
  if (recommended.do_sample == false) sampling.temperature = 0;
  sampling.top_p = recommended.top_p.value_or(sampling.top_p);
  sampling.top_k = recommended.top_k.value_or(sampling.top_k);
  sampling.min_p = recommended.min_p.value_or(sampling.min_p);
  sampling.repetition_penalty = recommended.repetition_penalty.value_or(sampling.repetition_penalty);
  return sampling;
}

Result<HttpServerOptions> HttpOptionsFrom(const Options& options, const CorsPolicy& cors,
                                          const Router& router) {
  HttpServerOptions http;
  http.listen = options.listen;
  PREFIXD_ASSIGN_OR_RETURN(http.listener, ServiceListener(options.listen));
  if (http.listener < 0) http.listener = InheritedListener(options.listen);
  http.listener_stays = HasServiceListener();
  http.io_threads = static_cast<int>(options.io_threads);
  http.max_connections = static_cast<int>(options.max_connections);
  http.max_body_bytes = static_cast<size_t>(options.max_body);
  http.max_inflight_bytes = static_cast<size_t>(options.max_inflight);
  http.max_backlog_bytes = static_cast<size_t>(options.stream_backlog);
  http.header_seconds = static_cast<double>(options.header_seconds);
  http.body_seconds = static_cast<double>(options.body_seconds);
  http.idle_seconds = static_cast<double>(options.idle_seconds);
  http.reader_seconds = static_cast<double>(options.reader_seconds);
  http.cors = cors;
  http.errors_of = [&](std::string_view path) -> const ErrorStyle& { return router.ErrorsOf(path); };
  return http;
}

void LogPlan(const Options& options, const ServePlan& plan) {
  const ModelSummary& model = plan.model;
  const EngineLimits& limits = plan.limits;
  Log(LogLevel::kInfo, "starting",
      {{"version", Version()},
       {"model", options.model},
       {"backend", plan.backend},
       {"threads", plan.threads.count},
       {"threads_source", plan.threads.source}});
  if (plan.replaces_lost_device) {
    Log(LogLevel::kWarning,
        "the CPU computes in the place of the lost GPU: repair that, then restart prefixd",
        {{"reason", plan.without_cuda}});
  } else if (!plan.without_cuda.empty()) {
    Log(LogLevel::kInfo, "the CPU computes: the CUDA module finds no device that it can use",
        {{"reason", plan.without_cuda}});
  }
  if (plan.bf16_products) {
    Log(LogLevel::kInfo, "products of bf16 weights",
        {{"by", plan.bf16_products->by}, {"reason", plan.bf16_products->reason}});
  }
  if (plan.device_info) {
    Log(LogLevel::kInfo, "device",
        {{"number", plan.cuda.device},
         {"name", plan.device_info->name},
         {"versions", plan.device_info->versions},
         {"free", FormatSize(plan.device_info->free_bytes)},
         {"memory", FormatSize(plan.device_info->bytes)}});
  }
  Log(LogLevel::kInfo, "model",
      {{"name", plan.served_name},
       {"architecture", CanonicalArchitecture(model.config)},
       {"parameters", model.parameters},
       {"weights", FormatSize(model.weight_bytes)},
       {"quantize", options.quantize},
       {"tokenizer", model.tokenizer.kind},
       {"chat_template", model.chat_template ? model.chat_template->place : "none"}});
  Log(LogLevel::kInfo, "limits",
      {{"context", limits.context},
       {"max_sequences", limits.max_sequences},
       {"step_tokens", limits.step_tokens},
       {"step_seconds", limits.step_seconds},
       {"max_queue", limits.max_queue},
       {"max_connections", options.max_connections},
       {"device_cache", FormatSize(limits.device_cache_bytes)},
       {"blocks", limits.blocks},
       {"block_tokens", limits.block_tokens},
       {"kv_dtype", plan.kv_dtype.name()},
       {"kv_bytes_per_token", limits.kv_bytes_per_token}});
  if (model.weights == WeightSource::kDummy) {
    Log(LogLevel::kWarning, "the weights are dummies: answers have no meaning",
        {{"load", options.load}, {"tokenizer", model.tokenizer.kind}});
  }
  for (const std::string& warning : limits.warnings) Log(LogLevel::kWarning, warning);
}

EngineStats PlannedStats(const ServePlan& plan) {
  EngineStats stats;
  const EngineLimits& limits = plan.limits;
  if (limits.blocks > 0) stats.block_bytes = limits.device_cache_bytes / limits.blocks;
  stats.blocks[static_cast<size_t>(Tier::kDevice)].free = limits.blocks;
  stats.blocks[static_cast<size_t>(Tier::kHost)].free = plan.tiers.host_blocks;
  return stats;
}

DiskTierStats PlannedDisk(const ServePlan& plan) {
  return {.on = plan.tiers.disk.on, .capacity = plan.tiers.disk.capacity};
}

}  // namespace prefixd
