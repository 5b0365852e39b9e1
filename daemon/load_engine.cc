#include "daemon/load_engine.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/usable_cpus.h"
#include "daemon/limit_table.h"
#include "daemon/load_report.h"
#include "daemon/memory_limit.h"
#include "daemon/serve_plan_memory.h"
#include "daemon/tenant_caches.h"
#include "daemon/tier_probe.h"
#include "hashing/fingerprint.h"
#include "kernels/registry.h"

namespace prefixd {
namespace {

// Of the device cache, a part is left for the first requests: so they evict nothing that was loaded.
constexpr double kWarmShare = 0.75;

Result<LoadedEngine> Load(const Options& options, const ServePlan& plan, DescribedModel described,
                          const Clock* clock, bool draws, WarmStart* warm, ExitCode* code) {
  LoadedEngine loaded;
  *code = kExitModelRefused;
  PREFIXD_ASSIGN_OR_RETURN(loaded.backend,
                           CreateBackend(plan.backend, plan.threads.count, plan.cuda, plan.numerics));
  const EngineLimits& limits = plan.limits;
  const LoadOptions load{.limits = StepLimitsFor(options, limits.step_tokens, limits.context),
                         .quantize = plan.quantize};
  PREFIXD_ASSIGN_OR_RETURN(loaded.model,
                           LoadModel(std::move(described), *loaded.backend, load,
                                     ReportLoad(LoadPart::kWeights, plan.model.weight_bytes, draws, clock)));
  const KvLayout layout = loaded.model->runner->shape().Kv(limits.block_tokens, plan.kv_dtype);
  EngineOptions engine{
      .context = limits.context,
      .max_sequences = limits.max_sequences,
      .step_tokens = limits.step_tokens,
      .step_seconds = limits.step_seconds,
      .max_queue = limits.max_queue,
      .max_tokens_in_flight = limits.max_tokens,
      .prompt_logit_rows = Limit("prompt-logit-rows"),
      .block_tokens = limits.block_tokens,
      .blocks = limits.blocks,
      .kv_dtype = plan.kv_dtype,
      .prefix_cache = !options.no_prefix_cache,
      .eviction = options.eviction,
      .retained_percent = static_cast<int>(options.retained_share),
      .host_blocks = plan.tiers.host_blocks,
      .disk = plan.tiers.disk.on,
      .remote = plan.tiers.remote.on,
      .disk_blocks = plan.tiers.disk.Blocks(layout),
      .write_through = plan.tiers.disk.write_through,
      .spills_slow_steps = plan.backend != "cuda" && plan.threads.count >= CountUsableCpus().count,
      .load_policy = plan.tiers.load_policy,
      .losses = RememberedLosses(plan.tiers, layout, limits.blocks),
      .eos = loaded.model->eos,
      .fingerprint = Fingerprint(IdentityOf(*loaded.model, *loaded.backend, layout))};
  *code = kExitUsage;
  PREFIXD_ASSIGN_OR_RETURN(loaded.events, KvEvents::Bind(options, engine.fingerprint));
  if (loaded.events != nullptr) engine.residency = loaded.events->listener();
  const uint64_t host_bytes = plan.tiers.host_blocks * uint64_t{layout.BlockBytes()};
  const ChatTemplate* const chat = loaded.model->chat_template.get();
  Result<std::unique_ptr<Tiers>> tiers =
      Tiers::Create(plan.tiers, layout, engine.fingerprint, chat == nullptr ? "" : chat->source(),
                    DiskSharesOf(plan.api_keys, engine.fingerprint), loaded.backend.get(), clock,
                    ReportLoad(LoadPart::kHostCache, host_bytes, draws, clock));
  if (!tiers.ok()) {
    *code = tiers.status().code() == Code::kInvalidArgument ? kExitUsage : kExitFailed;
    return tiers.status();
  }
  loaded.tiers = *std::move(tiers);
  engine.other_models = loaded.tiers->other_models();
  const DiskTierStats disk = loaded.tiers->disk();
  const TierProbe probe = ProbeTiers(plan, layout, disk.capacity - std::min(disk.bytes, disk.capacity));
  engine.load_block_seconds = probe.block_seconds;
  engine.load_block_seconds[static_cast<size_t>(Tier::kRemote)] = loaded.tiers->ProbeRemote();
  engine.prompt_token_seconds = probe.token_seconds;
  if (plan.tiers.remote.warm_bytes > 0) {
    loaded.hot_list = std::make_unique<HotListWriter>(engine.fingerprint, limits.block_tokens,
                                                      loaded.tiers->remote_tier(), clock);
    engine.hot = loaded.hot_list->counts();
  }
  loaded.mask_executor = std::make_unique<ThreadExecutor>(Limit<size_t>("mask-threads"),
                                                          static_cast<size_t>(limits.max_sequences));
  engine.mask_executor = loaded.mask_executor.get();
  PREFIXD_ASSIGN_OR_RETURN(loaded.engine,
                           Engine::Create(engine, loaded.model->runner.get(), loaded.backend.get(), clock,
                                          loaded.tiers->lower_tiers()));
  loaded.actions = std::make_unique<CacheActions>(
      &loaded.engine->view(),
      [tiers = loaded.tiers.get()](const auto& matches, const std::atomic<bool>& stop) {
        return tiers->DeleteRecords(matches, stop);
      },
      clock);
  if (loaded.events != nullptr)
    loaded.events->Start(loaded.engine.get(), MostEventBlocks(plan.tiers, layout, limits.blocks), clock);
  loaded.SetTenants(plan.api_keys);
  if (loaded.hot_list == nullptr) return loaded;
  const WarmStart::Options warm_options{
      .bytes = plan.tiers.remote.warm_bytes,
      .seconds = static_cast<double>(plan.tiers.remote.warm_seconds),
      .record_bytes = RecordBytes(layout),
      .most_blocks = static_cast<uint64_t>(kWarmShare * limits.blocks),
      .plan = {.fingerprint = engine.fingerprint,
               .block_tokens = limits.block_tokens,
               .vocab = loaded.model->config.vocab,
               .most_depth = static_cast<size_t>(limits.context / limits.block_tokens)}};
  warm->Run(warm_options, loaded.engine.get(), loaded.tiers->remote_tier());
  return loaded;
}

}  // namespace

void LoadedEngine::Describe(ApiContext* context) const {
  if (events != nullptr) context->kv_events = events->source();
  context->tokenizer = model->tokenizer.get();
  context->chat_template = model->chat_template.get();
  context->has_other_template = tiers->HasOtherTemplate();
  context->eos = model->eos;
  context->bos = model->bos;
  context->vocab_size = model->config.vocab;
  context->fingerprint = "fp_" + ToHex(engine->options().fingerprint).substr(0, 12);
}

void LoadedEngine::SetTenants(const std::vector<ApiKey>& keys) {
  engine->SetTenants(TenantCachesOf(keys));
  tiers->SetShares(DiskSharesOf(keys, engine->options().fingerprint));
}

void LoadedEngine::FillPageCache() {
  if (!model->uncached_files.empty())
    page_cache = std::make_unique<PageCacheFill>(model->uncached_files, ReadMemoryState().available / 2);
}

void LoadedEngine::Close() {
  actions.reset();
  engine.reset();
  hot_list.reset();
  tiers.reset();
}

Result<LoadedEngine> LoadEngine(const Options& options, const ServePlan& plan, DescribedModel described,
                                const Clock* clock, bool draws, WarmStart* warm, ExitCode* code) {
  Result<LoadedEngine> loaded = Load(options, plan, std::move(described), clock, draws, warm, code);
  if (loaded.ok()) return loaded;
  // Neither is for good: a service manager may try again.
  if (loaded.status().code() == Code::kUnavailable) *code = kExitFailed;
  if (loaded.status().code() != Code::kResourceExhausted || !plan.device_info) return loaded;
  *code = kExitFailed;
  const DeviceInfo& device = *plan.device_info;
  return ResourceExhausted(loaded.status().message() + "; " +
                           DeviceMemoryText(plan.limits.memory, {device.free_bytes, device.bytes}));
}

}  // namespace prefixd
