#include "daemon/metric_rows.h"

#include <array>
#include <numeric>
#include <span>
#include <vector>

#include "daemon/api/tier_names.h"

namespace prefixd {
namespace {

using S = MetricsSnapshot;
using Row = MetricRow;
constexpr auto kCounter = Row::kCounter;
constexpr auto kGauge = Row::kGauge;

constexpr std::string_view kWriteNames[kWriteKinds] = {"prompt", "answer", "again"};
constexpr std::string_view kUnansweredNames[] = {"prompt", "generated"};
constexpr std::string_view kStateNames[] = {"free", "cached", "leased"};
constexpr std::string_view kVerifyNames[] = {"tokens",     "checksum",  "fingerprint", "short",
                                             "decompress", "nonfinite", "store"};
constexpr std::string_view kTierErrorNames[kTierErrors] = {"read", "write", "full", "missing", "busy"};
constexpr std::string_view kTransferResultNames[kTransferResults] = {"ok", "failed", "missing", "corrupt"};
constexpr std::string_view kFinishNames[kFinishReasons] = {"stop", "length", "abort",
                                                           "error"};  // vLLM's names
constexpr std::string_view kScaleNames[kWhatIfScales.size()] = {"0.5", "1", "2", "4"};
constexpr std::string_view kRetentionNames[] = {"kept", "refused"};
constexpr std::string_view kRetentionEndNames[] = {"expired", "evicted", "displaced"};
constexpr std::string_view kRateNames[] = {"requests", "tokens"};
constexpr std::string_view kEventTypeNames[] = {"stored", "removed", "cleared"};
constexpr LabelSet kNoLabel = {};
constexpr LabelSet kEventType = {"type", kEventTypeNames};
constexpr LabelSet kRetention = {"result", kRetentionNames};
constexpr LabelSet kRetentionEnd = {"reason", kRetentionEndNames};
// The values of SessionHint after kNone, and SessionHints::Outcome.
constexpr std::string_view kHintNames[] = {"ended", "one_shot", "tool_pending"};
constexpr std::string_view kHintOutcomeNames[] = {"right", "wrong", "ignored"};
constexpr LabelSet kHint = {"hint", kHintNames};
constexpr LabelSet kHintOutcome = {"outcome", kHintOutcomeNames};
constexpr LabelSet kRate = {"limit", kRateNames};
constexpr LabelSet kSource = {"source", kSourceNames};
constexpr LabelSet kWrite = {"part", kWriteNames};
constexpr LabelSet kUnanswered = {"kind", kUnansweredNames};
static_assert(static_cast<size_t>(Tier::kRemote) == kTiers - 1);
constexpr LabelSet kTier = {"tier", std::span(kTierNames).first<kTiers - 1>()};
constexpr LabelSet kStack = {"tier", kTierNames};  // of what the remote tier has as well
constexpr LabelSet kScale = {"scale", kScaleNames};
constexpr LabelSet kState = {"state", kStateNames};
constexpr LabelSet kVerifyKind = {"kind", kVerifyNames};
constexpr LabelSet kTierErrorKind = {"kind", kTierErrorNames};
constexpr LabelSet kTransferResult = {"result", kTransferResultNames};
constexpr LabelSet kFinished = {"finished_reason", kFinishNames};

// The names of an enumeration, in its order.
template <typename Enum, int kCount>
std::array<std::string_view, kCount> NamesOf(std::string_view (*name_of)(Enum)) {
  std::array<std::string_view, kCount> names;
  for (int i = 0; i < kCount; ++i) names[static_cast<size_t>(i)] = name_of(static_cast<Enum>(i));
  return names;
}
LabelSet LoadDecisions() {
  static const auto names = NamesOf<LoadDecision, kLoadDecisions>(LoadDecisionName);
  return {"decision", names};
}
LabelSet MissReasons() {
  static const auto names = NamesOf<MissReason, kMissReasons>(MissReasonName);
  return {"reason", names};
}

double Sum(std::span<const uint64_t> counts) {
  return static_cast<double>(std::accumulate(counts.begin(), counts.end(), uint64_t{0}));
}
uint64_t Capacity(const EngineStats& e) { return e.blocks[0].capacity(); }
double KvUsage(const S& s) {
  const uint64_t capacity = Capacity(s.engine);
  return capacity == 0 ? 0 : static_cast<double>(s.engine.blocks[0].leased) / static_cast<double>(capacity);
}
constexpr auto kDiskTier = static_cast<size_t>(Tier::kDisk);
constexpr auto kRemoteTier = static_cast<size_t>(Tier::kRemote);
double BytesIn(const S& s, uint64_t blocks) { return static_cast<double>(blocks * s.engine.block_bytes); }

// Metrics with vLLM's names. They also have the label model_name.
std::span<const Row> VllmRows() {
  static const std::vector<Row> rows = {
      {kCounter, "vllm:prompt_tokens_total",
       "Prompt tokens of choices with a complete prompt; at rest the sum of usage.prompt_tokens, of "
       "prefixd_repeated_prompt_tokens_total and of prefixd_unanswered_tokens_total{kind=\"prompt\"}.",
       kNoLabel, kNoLabel, [](const S& s, size_t, size_t) { return Sum(s.engine.prompt_tokens); }},
      {kCounter, "vllm:generation_tokens_total",
       "Generated tokens of answers; at rest the sum of usage.completion_tokens and of "
       "prefixd_unanswered_tokens_total{kind=\"generated\"}.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.answers.generated); }},
      {kCounter, "vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", kNoLabel,
       kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.prefix_query_tokens); }},
      {kCounter, "vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.prefix_hit_tokens); }},
      {kGauge, "vllm:num_requests_running", "Running requests.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.running); }},
      {kGauge, "vllm:num_requests_waiting", "Waiting requests.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.waiting); }},
      {kGauge, "vllm:kv_cache_usage_perc",
       "Fraction of the KV blocks on the device that running requests hold, 0 to 1.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return KvUsage(s); }},
      // Names of vLLM before 0.10, which some routers still read.
      {kGauge, "vllm:gpu_cache_usage_perc", "An old name of vllm:kv_cache_usage_perc.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return KvUsage(s); }},
      {kCounter, "vllm:gpu_prefix_cache_queries_total", "An old name of vllm:prefix_cache_queries_total.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.prefix_query_tokens); }},
      {kCounter, "vllm:gpu_prefix_cache_hits_total", "An old name of vllm:prefix_cache_hits_total.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.prefix_hit_tokens); }},
      {kGauge, "vllm:gpu_prefix_cache_hit_rate",
       "Share of the prompt tokens looked up since the start that were found, 0 to 1; an old metric of vLLM.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) {
         return s.engine.prefix_query_tokens == 0 ? 0
                                                  : static_cast<double>(s.engine.prefix_hit_tokens) /
                                                        static_cast<double>(s.engine.prefix_query_tokens);
       }},
      {kCounter, "vllm:num_preemptions_total",
       "Preemptions: a request releases its blocks and is computed again.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.preemptions); }},
      {kCounter, "vllm:request_success_total", "Finished requests by reason.", kFinished, kNoLabel,
       [](const S& s, size_t i, size_t) { return static_cast<double>(s.engine.finished[i]); }},
  };
  return rows;
}

std::span<const Row> CacheRows() {
  static const std::vector<Row> rows = {
      {kCounter, "prefixd_prompt_tokens_total",
       "Prompt tokens by the source of their KV; sums to vllm:prompt_tokens_total.", kSource, kNoLabel,
       [](const S& s, size_t i, size_t) { return static_cast<double>(s.engine.prompt_tokens[i]); }},
      {kCounter, "prefixd_repeated_prompt_tokens_total",
       "Those of prefixd_prompt_tokens_total that belong to further choices of a prompt, which usage counts "
       "once.",
       kSource, kNoLabel,
       [](const S& s, size_t i, size_t) { return static_cast<double>(s.engine.repeated_prompt_tokens[i]); }},
      {kCounter, "prefixd_cache_write_tokens_total",
       "Tokens that became reusable, in blocks that a prompt fills (prompt), in blocks with generated tokens "
       "(answer), or again for the same request after an eviction (again).",
       kWrite, kNoLabel,
       [](const S& s, size_t i, size_t) { return static_cast<double>(s.engine.written_tokens[i]); }},
      {kCounter, "prefixd_unanswered_tokens_total",
       "Tokens of requests that ended without an answer: the client left, or there was an error.",
       kUnanswered, kNoLabel,
       [](const S& s, size_t i, size_t) {
         const uint64_t tokens[] = {s.answers.unanswered_prompt, s.answers.unanswered_generated};
         return static_cast<double>(tokens[i]);
       }},
      {kCounter, "prefixd_discarded_tokens_total",
       "Tokens computed after the end of their answer, in a step that was in flight when an end token or a "
       "stop string was found or the client left; in no other count of tokens.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) {
         return static_cast<double>(s.answers.discarded + s.engine.dropped_tokens);
       }},
      {kCounter, "prefixd_format_requests_total", "Requests whose answers follow a format.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.answers.formats); }},
      {kCounter, "prefixd_ignored_schema_keywords_total",
       "Keywords of JSON Schemas that restrict answers and were ignored, because 'strict' was not set.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.answers.ignored_keywords); }},
      {kCounter, "prefixd_skipped_tools_total", "Tools left out: they are no functions.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.answers.skipped_tools); }},
      {kCounter, "prefixd_cache_miss_tokens_total",
       "Computed prompt tokens by the reason of the cache miss; sums to source=computed.", MissReasons(),
       kNoLabel, [](const S& s, size_t i, size_t) { return static_cast<double>(s.engine.miss_tokens[i]); }},
      {kCounter, "prefixd_recomputed_tokens_total", "Tokens computed again after a preemption.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.recomputed_tokens); }},
      {kCounter, "prefixd_draw_cpu_seconds_total",
       "CPU time of the process while steps drew tokens and computed log probabilities; 0 on a GPU.",
       kNoLabel, kNoLabel, [](const S& s, size_t, size_t) { return s.engine.draw_cpu_seconds; }},
      {kCounter, "prefixd_steps_ahead_total",
       "Steps that were given to the backend before the tokens of the step before had come back.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.steps_ahead); }},
      {kCounter, "prefixd_failed_steps_total", "Steps of the backend that ended with an error.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.failed_steps); }},
      {kCounter, "prefixd_attention_read_bytes_total",
       "Bytes of KV that attention read. It reads a block once for up to 96 query rows on a CPU and 64 on a "
       "GPU, also of different sequences that share a prefix.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.attention.read_bytes); }},
      {kCounter, "prefixd_attention_saved_bytes_total",
       "Bytes of KV that attention did not read because one read served several sequences; beside "
       "prefixd_attention_read_bytes_total.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.attention.saved_bytes); }},
      {kCounter, "prefixd_prefill_seconds_saved_total",
       "Estimated time to compute the prompt tokens that a tier had. Loads from lower tiers cost a part of "
       "it.",
       kNoLabel, kNoLabel, [](const S& s, size_t, size_t) { return s.engine.prefill_seconds_saved; }},
      {kGauge, "prefixd_prefill_tokens_per_second",
       "Estimated prefill speed beside what else runs; decisions about loads rest on it.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return s.engine.prefill_tokens_per_second; }},
  };
  return rows;
}

std::span<const Row> RetentionRows() {
  static const std::vector<Row> rows = {
      {kCounter, "prefixd_retention_tokens_total",
       "Tokens that requests asked to keep: kept, or refused beyond the limit.", kRetention, kNoLabel,
       [](const S& s, size_t i, size_t) {
         return static_cast<double>(i == 0 ? s.engine.cache.kept_tokens : s.engine.cache.refused_tokens);
       }},
      {kGauge, "prefixd_retained_bytes", "Bytes of KV in the tier that are kept for requests.", kTier,
       kNoLabel,
       [](const S& s, size_t tier, size_t) {
         if (tier == kDiskTier) return static_cast<double>(s.disk.store.kept_bytes);
         return BytesIn(s, s.engine.blocks[tier].kept);
       }},
      {kGauge, "prefixd_retained_bytes_limit", "As many can be kept (--retained-share).", kTier, kNoLabel,
       [](const S& s, size_t tier, size_t) {
         if (tier == kDiskTier) return static_cast<double>(s.disk.store.most_kept_bytes);
         return BytesIn(s, s.engine.blocks[tier].most_kept);
       }},
      {kCounter, "prefixd_retention_refused_blocks_total",
       "Blocks that the tier did not keep because its limit was reached. Another tier may have kept them.",
       kTier, kNoLabel,
       [](const S& s, size_t tier, size_t) {
         if (tier == kDiskTier) return static_cast<double>(s.disk.store.retention.refused);
         return static_cast<double>(s.engine.cache.retention_refused[tier]);
       }},
      {kCounter, "prefixd_session_hint_blocks_total",
       "Blocks of which prefixd_session said that they would not come again (ended, one_shot), or soon "
       "(tool_pending), by whether that was right; ignored: beyond a quarter of all blocks or the budget.",
       kHint, kHintOutcome,
       [](const S& s, size_t hint, size_t outcome) {
         return static_cast<double>(s.engine.cache.hints.blocks[hint + 1][outcome]);
       }},
      {kCounter, "prefixd_retention_ended_total",
       "Blocks not kept any more: expired, needed by requests that run, or by another tenant.", kTier,
       kRetentionEnd,
       [](const S& s, size_t tier, size_t reason) {
         if (tier == kDiskTier) {
           const DiskStoreStats& d = s.disk.store;
           return static_cast<double>(
               std::array{d.retention.expired, d.evicted_kept_records, d.retention.displaced}[reason]);
         }
         const PrefixCacheStats& c = s.engine.cache;
         const auto& ended = std::array{&c.retention_expired, &c.retention_evicted, &c.retention_displaced};
         return static_cast<double>((*ended[reason])[tier]);
       }},
  };
  return rows;
}

std::span<const Row> TierRows() {
  static const std::vector<Row> rows = {
      {kGauge, "prefixd_blocks",
       "KV blocks by state; sums to the capacity of the tier; leased is 0 at rest. The records of the disk "
       "tier, which is limited by bytes, count as cached.",
       kTier, kState,
       [](const S& s, size_t tier, size_t state) {
         if (tier == kDiskTier) return state == 1 ? static_cast<double>(s.disk.store.records) : 0.0;
         const BlockCounts& blocks = s.engine.blocks[tier];
         return static_cast<double>(state == 0 ? blocks.free : state == 1 ? blocks.cached : blocks.leased);
       }},
      {kGauge, "prefixd_tier_bytes",
       "Bytes of KV in the tier; of the disk tier, physical bytes; of the remote tier, what its server "
       "holds.",
       kStack, kNoLabel,
       [](const S& s, size_t tier, size_t) {
         if (tier == kRemoteTier) return static_cast<double>(s.remote.bytes);
         if (tier == kDiskTier) return static_cast<double>(s.disk.bytes);
         return BytesIn(s, uint64_t{s.engine.blocks[tier].cached} + s.engine.blocks[tier].leased);
       }},
      {kGauge, "prefixd_tier_capacity_bytes", "Capacity of the tier in bytes, see prefixd_tier_bytes.",
       kStack, kNoLabel,
       [](const S& s, size_t tier, size_t) {
         if (tier == kRemoteTier) return static_cast<double>(s.remote.capacity);
         if (tier == kDiskTier) return static_cast<double>(s.disk.capacity);
         return BytesIn(s, s.engine.blocks[tier].capacity());
       }},
      {kCounter, "prefixd_tier_read_bytes_total", "Bytes of KV read from the tier by transfers, as stored.",
       kStack, kNoLabel,
       [](const S& s, size_t tier, size_t) {
         return static_cast<double>(s.engine.transfers.read_bytes[tier]);
       }},
      {kCounter, "prefixd_tier_written_bytes_total",
       "Bytes of KV written to the tier by transfers, as stored; of the disk, once they are durable.", kStack,
       kNoLabel,
       [](const S& s, size_t tier, size_t) {
         if (tier == kRemoteTier) return static_cast<double>(s.remote.written_bytes);
         if (tier == kDiskTier) return static_cast<double>(s.disk.store.written_bytes);
         return static_cast<double>(s.engine.transfers.written_bytes[tier]);
       }},
      {kCounter, "prefixd_tier_evictions_total", "Blocks evicted from the tier.", kTier, kNoLabel,
       [](const S& s, size_t tier, size_t) {
         if (tier == kDiskTier) return static_cast<double>(s.disk.store.evicted_records);
         return static_cast<double>(s.engine.cache.evicted_blocks[tier]);
       }},
      {kCounter, "prefixd_tier_errors_total", "Transfers that failed at the tier, by kind.", kStack,
       kTierErrorKind,
       [](const S& s, size_t tier, size_t kind) {
         return static_cast<double>(s.engine.transfers.errors[tier][kind]);
       }},
      {kCounter, "prefixd_load_decisions_total",
       "What was decided for hits in lower tiers, by the lowest tier of the hit: to load or to compute all, "
       "or "
       "to compute the first blocks while the last are loaded. overtaken counts in addition.",
       kStack, LoadDecisions(),
       [](const S& s, size_t tier, size_t decision) {
         return static_cast<double>(s.engine.cache.load_decisions[tier][decision]);
       }},
      {kCounter, "prefixd_ghost_hit_tokens_total",
       "Prompt tokens that the tier would have hit by itself if it were so many times as large, estimated "
       "from a sample of the blocks; beside vllm:prompt_tokens_total.",
       kTier, kScale,
       [](const S& s, size_t tier, size_t scale) {
         return static_cast<double>(s.engine.ghost_hit_tokens[tier][scale]);
       }},
  };
  return rows;
}

std::span<const Row> TransferRows() {
  static const std::vector<Row> rows = {
      {kGauge, "prefixd_tier_bytes_per_second",
       "Estimate of what loads from the tier bring while some run; 0: not known. Decisions rest on it.",
       kStack, kNoLabel,
       [](const S& s, size_t tier, size_t) { return s.engine.tier_bytes_per_second[tier]; }},
      {kCounter, "prefixd_tier_loads_total", "Transfers of blocks to the device cache, by result.",
       kTransferResult, kNoLabel,
       [](const S& s, size_t result, size_t) { return static_cast<double>(s.engine.cache.loads[result]); }},
      {kCounter, "prefixd_tier_spills_total", "Transfers of blocks to a lower tier, by result.",
       kTransferResult, kNoLabel,
       [](const S& s, size_t result, size_t) { return static_cast<double>(s.engine.cache.spills[result]); }},
      {kCounter, "prefixd_spills_deferred_total",
       "Blocks that were not to be written to the disk before no request computes.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.cache.deferred_spills); }},
      {kGauge, "prefixd_spill_cost_ratio",
       "What writing every block to the disk takes, over the time of the steps; 0: not known.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return s.engine.spill_cost; }},
      {kGauge, "prefixd_spill_chance_ratio",
       "Of the blocks that memory did not have, the share that it had lost: what a disk tier can save.",
       kNoLabel, kNoLabel, [](const S& s, size_t, size_t) { return s.engine.spill_chance; }},
      {kGauge, "prefixd_spill_pending_bytes",
       "Bytes decided for the disk, at once or when no request computes, that are not durable. Those evicted "
       "while they wait count until their turn.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) {
         return BytesIn(s, s.engine.pending_disk_blocks) + static_cast<double>(s.disk.store.pending_bytes);
       }},
      {kCounter, "prefixd_disk_rewritten_bytes_total", "Bytes that eviction on the disk copied forward.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.disk.store.rewritten_bytes); }},
      {kCounter, "prefixd_tier_engine_seconds_total",
       "Time of the engine thread for ended transfers, for the start of spills and for blocks that requests "
       "give back, and for planning steps, decisions about loads included; 0 without lower tiers.",
       kNoLabel, kNoLabel, [](const S& s, size_t, size_t) { return s.engine.tier_seconds; }},
      {kCounter, "prefixd_verify_failures_total", "Blocks found but not used, by the check that failed.",
       kVerifyKind, kNoLabel,
       [](const S& s, size_t kind, size_t) {
         uint64_t failures = s.engine.transfers.verify_failures[kind];
         if (kind == static_cast<size_t>(VerifyFailure::kTokens)) failures += s.engine.cache.key_collisions;
         if (kind == static_cast<size_t>(VerifyFailure::kStore)) failures += s.disk.store.lost_records;
         return static_cast<double>(failures);
       }},
  };
  return rows;
}

std::span<const Row> ProcessRows() {
  static const std::vector<Row> rows = {
      {kCounter, "prefixd_forced_tokens_total",
       "Generated tokens that took no step of their own, because the format of the answer allowed no other.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.forced_tokens); }},
      {kCounter, "prefixd_refused_tokens_total",
       "Tokens of answers with a format that were drawn again, because encoding the text gives other ones.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.refused_tokens); }},
      {kCounter, "prefixd_formats_compiled_total",
       "Formats of answers that were compiled; those of other requests were found compiled.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.formats.compiled); }},
      {kGauge, "prefixd_format_bytes", "Memory of compiled formats with their masks; at most format-bytes.",
       kNoLabel, kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.formats.bytes); }},
      {kCounter, "prefixd_late_masks_total",
       "Tokens of answers with a format that waited until it was known which the format allows.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.engine.late_masks); }},
      {kCounter, "prefixd_kv_events_total",
       "KV events that were published, without those of snapshots, by type.", kEventType, kNoLabel,
       [](const S& s, size_t type, size_t) {
         const uint64_t counts[] = {s.events.stored, s.events.removed, s.events.cleared};
         return static_cast<double>(counts[type]);
       }},
      {kCounter, "prefixd_kv_event_snapshots_total",
       "Announcements of all cached blocks, for new subscribers or after a loss.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.events.snapshots); }},
      {kCounter, "prefixd_kv_event_lost_total",
       "Changes of cached blocks that found the queue of KV events full; all blocks were announced again.",
       kNoLabel, kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.events.lost); }},
      {kGauge, "prefixd_ready", "1 while new requests are accepted, like /ready.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return s.ready ? 1.0 : 0.0; }},
      {kCounter, "prefixd_admin_streams_dropped_total",
       "Streams of the admin listener that were dropped, because their clients did not read.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.dropped_admin_streams); }},
      {kGauge, "prefixd_inflight_bytes", "Bytes of requests and answers in memory; 0 at rest.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.inflight.bytes); }},
      {kGauge, "prefixd_inflight_limit_bytes", "Limit of prefixd_inflight_bytes.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.inflight.limit); }},
      {kGauge, "prefixd_remembered_request_bytes",
       "Bytes of the hashes of recent requests, by which later ones are explained.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.remembered_bytes); }},
      {kCounter, "prefixd_inflight_refusals_total",
       "Times that bytes of a request or answer found no room below the limit.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.inflight.refusals); }},
      {kCounter, "prefixd_rate_limited_requests_total",
       "Requests answered 429 because of their tenant's limit of requests or tokens a minute.", kRate,
       kNoLabel,
       [](const S& s, size_t limit, size_t) { return static_cast<double>(s.answers.rate_limited[limit]); }},
      {kCounter, "prefixd_slow_readers_total", "Connections closed because the client did not read.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.inflight.slow_readers); }},
      {kCounter, "process_cpu_seconds_total", "User and system CPU time.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return s.process.cpu_seconds; }},
      {kGauge, "process_resident_memory_bytes", "Resident memory.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.process.resident_bytes); }},
      {kGauge, "process_virtual_memory_bytes", "Virtual memory.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.process.virtual_bytes); }},
      {kGauge, "process_open_fds", "Open file descriptors.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.process.open_fds); }},
      {kGauge, "process_max_fds", "Limit of open file descriptors.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.process.max_fds); }},
      {kGauge, "process_start_time_seconds", "Start time of the process in Unix seconds.", kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return s.process.start_time_seconds; }},
  };
  return rows;
}

}  // namespace

std::span<const std::span<const MetricRow>> MetricTables() {
  static const std::array tables = {VllmRows(),   CacheRows(),     RetentionRows(), TierRows(),
                                    RemoteRows(), WarmStartRows(), TransferRows(),  ProcessRows()};
  return tables;
}

std::span<const HistogramRow> HistogramRows() {
  using H = const LatencyHistogram&;
  static const std::vector<HistogramRow> rows = {
      {"vllm:time_to_first_token_seconds", "Time from arrival to the first token.", kNoLabel,
       [](const S& s, size_t) -> H { return s.engine.time_to_first_token; }},
      {"vllm:inter_token_latency_seconds", "Time from one token to the next.", kNoLabel,
       [](const S& s, size_t) -> H { return s.engine.inter_token; }},
      {"vllm:e2e_request_latency_seconds", "Time from arrival to the end of the request.", kNoLabel,
       [](const S& s, size_t) -> H { return s.engine.end_to_end; }},
      {"vllm:request_queue_time_seconds", "Time from arrival until the request runs.", kNoLabel,
       [](const S& s, size_t) -> H { return s.engine.queue_time; }},
      {"prefixd_step_seconds", "Duration of an engine step.", kNoLabel,
       [](const S& s, size_t) -> H { return s.engine.step_time; }},
      {"prefixd_load_seconds", "Time of a transfer of a block to the device cache.", kNoLabel,
       [](const S& s, size_t) -> H { return s.engine.transfers.load_seconds; }},
      {"prefixd_store_queue_seconds", "Time that a transfer from or to the disk waited for a worker.",
       kNoLabel, [](const S& s, size_t) -> H { return s.engine.transfers.store_queue_seconds; }},
      {"prefixd_block_age_at_hit_seconds",
       "Time since the use before, of blocks taken from the tier by whole hits; of disk records, since they "
       "were written.",
       kTier,
       [](const S& s, size_t tier) -> H {
         return tier == kDiskTier ? s.engine.transfers.record_ages : s.engine.cache.age_at_hit[tier];
       }},
      {"prefixd_block_age_at_eviction_seconds",
       "Time since the last use, of blocks evicted from the tier; of disk records, since they were written. "
       "Where it reaches ages of prefixd_block_age_at_hit_seconds, a larger tier would hit more.",
       kTier,
       [](const S& s, size_t tier) -> H {
         return tier == kDiskTier ? s.disk.store.ages_at_eviction : s.engine.cache.age_at_eviction[tier];
       }},
  };
  return rows;
}

}  // namespace prefixd
