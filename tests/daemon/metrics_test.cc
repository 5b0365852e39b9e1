#include "daemon/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <sstream>

namespace prefixd {
namespace {

using ::testing::HasSubstr;

// Series ("name{a=\"b\"}") to value. Fails on a duplicate, on a sample before its TYPE, and on lines that are
// neither sample nor comment.
std::map<std::string, double> ParseExposition(const std::string& text) {
  std::map<std::string, double> samples;
  std::set<std::string> typed;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(typed.insert(line.substr(7, line.find(' ', 7) - 7)).second) << "family twice: " << line;
    } else if (!line.starts_with("# HELP ")) {
      const size_t blank = line.rfind(' ');
      const std::string series = line.substr(0, blank);
      std::string family = series.substr(0, series.find('{'));
      for (const char* suffix : {"_bucket", "_sum", "_count"}) {
        if (!typed.contains(family) && family.ends_with(suffix))
          family.resize(family.size() - strlen(suffix));
      }
      EXPECT_TRUE(typed.contains(family)) << line;
      EXPECT_TRUE(samples.emplace(series, std::stod(line.substr(blank + 1))).second)
          << "series twice: " << series;
    }
  }
  EXPECT_TRUE(text.ends_with('\n'));
  return samples;
}

double SumOf(const std::map<std::string, double>& samples, const std::string& prefix) {
  double sum = 0;
  for (const auto& [series, value] : samples) {
    if (series.starts_with(prefix)) sum += value;
  }
  return sum;
}

MetricsSnapshot Empty() {
  MetricsSnapshot snapshot;
  snapshot.model_name = "demo";
  snapshot.version = "1.2.3";
  snapshot.revision = "abc";
  return snapshot;
}

TEST(Metrics, EveryNameAndLabelIsPresentAtZeroFromTheStart) {
  const auto samples = ParseExposition(RenderMetrics(Empty()));
  const auto expect = [&](const std::string& series) {
    ASSERT_TRUE(samples.contains(series)) << series;
    EXPECT_EQ(samples.at(series), 0) << series;
  };
  for (const char* name :
       {"prompt_tokens_total", "generation_tokens_total", "prefix_cache_queries_total",
        "prefix_cache_hits_total", "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
        "num_preemptions_total", "time_to_first_token_seconds_count", "inter_token_latency_seconds_count",
        "e2e_request_latency_seconds_count", "request_queue_time_seconds_count"}) {
    expect("vllm:" + std::string(name) + "{model_name=\"demo\"}");
  }
  for (const char* reason : {"stop", "length", "abort", "error"}) {
    expect("vllm:request_success_total{model_name=\"demo\",finished_reason=\"" + std::string(reason) + "\"}");
  }
  for (const char* source : {"computed", "device", "host", "disk", "shared", "remote"}) {
    expect("prefixd_prompt_tokens_total{source=\"" + std::string(source) + "\"}");
  }
  for (const char* source : {"computed", "device", "host", "disk", "shared", "remote"}) {
    expect("prefixd_repeated_prompt_tokens_total{source=\"" + std::string(source) + "\"}");
  }
  for (const char* part : {"prompt", "answer", "again"}) {
    expect("prefixd_cache_write_tokens_total{part=\"" + std::string(part) + "\"}");
  }
  for (const std::string hint : {"ended", "one_shot", "tool_pending"}) {
    for (const std::string outcome : {"right", "wrong", "ignored"})
      expect("prefixd_session_hint_blocks_total{hint=\"" + hint + "\",outcome=\"" + outcome + "\"}");
  }
  for (const char* result : {"kept", "refused"})
    expect("prefixd_retention_tokens_total{result=\"" + std::string(result) + "\"}");
  for (const char* kind : {"prompt", "generated"}) {
    expect("prefixd_unanswered_tokens_total{kind=\"" + std::string(kind) + "\"}");
  }
  for (const char* reason : {"never_seen", "evicted_device", "evicted_host", "evicted_disk", "evicted_remote",
                             "block_tail", "other_tenant", "other_model", "expired", "corrupt", "load_slower",
                             "template_diverged", "disabled"}) {
    expect("prefixd_cache_miss_tokens_total{reason=\"" + std::string(reason) + "\"}");
  }
  for (const char* kind :
       {"tokens", "checksum", "fingerprint", "short", "decompress", "nonfinite", "store"}) {
    expect("prefixd_verify_failures_total{kind=\"" + std::string(kind) + "\"}");
  }
  for (const std::string tier : {"device", "host", "disk"}) {
    for (const char* name :
         {"prefixd_tier_bytes", "prefixd_tier_capacity_bytes", "prefixd_tier_evictions_total",
          "prefixd_tier_read_bytes_total", "prefixd_tier_written_bytes_total", "prefixd_retained_bytes",
          "prefixd_retained_bytes_limit", "prefixd_retention_refused_blocks_total"}) {
      expect(name + ("{tier=\"" + tier + "\"}"));
    }
    for (const std::string scale : {"0.5", "1", "2", "4"})
      expect("prefixd_ghost_hit_tokens_total{tier=\"" + tier + "\",scale=\"" + scale + "\"}");
    expect("prefixd_block_age_at_hit_seconds_count{tier=\"" + tier + "\"}");
    expect("prefixd_block_age_at_eviction_seconds_count{tier=\"" + tier + "\"}");
    for (const std::string kind : {"read", "write", "full", "missing", "busy"}) {
      expect("prefixd_tier_errors_total{tier=\"" + tier + "\",kind=\"" + kind + "\"}");
    }
    for (const std::string reason : {"expired", "evicted", "displaced"})
      expect("prefixd_retention_ended_total{tier=\"" + tier + "\",reason=\"" + reason + "\"}");
    for (const std::string state : {"free", "cached", "leased"}) {
      expect("prefixd_blocks{tier=\"" + tier + "\",state=\"" + state + "\"}");
    }
  }
}

TEST(Metrics, EveryNameOfTransfersAndOfTheProcessIsPresentAtZeroFromTheStart) {
  const auto samples = ParseExposition(RenderMetrics(Empty()));
  const auto expect = [&](const std::string& series) {
    ASSERT_TRUE(samples.contains(series)) << series;
    EXPECT_EQ(samples.at(series), 0) << series;
  };
  for (const std::string result : {"ok", "failed", "missing", "corrupt"}) {
    expect("prefixd_tier_loads_total{result=\"" + result + "\"}");
    expect("prefixd_tier_spills_total{result=\"" + result + "\"}");
  }
  for (const std::string type : {"stored", "removed", "cleared"})
    expect("prefixd_kv_events_total{type=\"" + type + "\"}");
  for (const char* name :
       {"prefixd_tier_bytes", "prefixd_tier_capacity_bytes", "prefixd_tier_read_bytes_total",
        "prefixd_tier_written_bytes_total", "prefixd_tier_bytes_per_second"})
    expect(name + std::string("{tier=\"remote\"}"));
  for (const std::string result : {"written", "present", "queue", "full", "failed"})
    expect("prefixd_remote_writes_total{result=\"" + result + "\"}");
  for (const std::string result : {"taken", "wanted", "waited", "missed"})
    expect("prefixd_remote_leases_total{result=\"" + result + "\"}");
  for (const std::string result : {"loaded", "missing", "damaged", "failed", "late"})
    expect("prefixd_warm_start_blocks{result=\"" + result + "\"}");
  expect("prefixd_tier_errors_total{tier=\"remote\",kind=\"read\"}");
  expect("prefixd_load_decisions_total{tier=\"remote\",decision=\"load\"}");
  for (const char* name : {"prefixd_spill_pending_bytes",
                           "prefixd_remote_finds_total",
                           "prefixd_remote_failures_total",
                           "prefixd_remote_read_per_written",
                           "prefixd_remote_write_rate_bytes",
                           "prefixd_warm_start_bytes",
                           "prefixd_warm_start_seconds",
                           "prefixd_hot_list_blocks",
                           "prefixd_hot_list_writes_total",
                           "prefixd_disk_rewritten_bytes_total",
                           "prefixd_tier_engine_seconds_total",
                           "prefixd_load_seconds_count",
                           "prefixd_store_queue_seconds_count",
                           "prefixd_recomputed_tokens_total",
                           "prefixd_failed_steps_total",
                           "prefixd_step_seconds_count",
                           "prefixd_prefill_tokens_per_second",
                           "prefixd_ready",
                           "prefixd_admin_streams_dropped_total",
                           "prefixd_inflight_bytes",
                           "prefixd_inflight_limit_bytes",
                           "prefixd_inflight_refusals_total",
                           "prefixd_remembered_request_bytes",
                           "prefixd_slow_readers_total",
                           "prefixd_discarded_tokens_total",
                           "prefixd_steps_ahead_total",
                           "prefixd_draw_cpu_seconds_total",
                           "prefixd_attention_read_bytes_total",
                           "prefixd_attention_saved_bytes_total",
                           "prefixd_format_requests_total",
                           "prefixd_formats_compiled_total",
                           "prefixd_kv_event_lost_total",
                           "prefixd_kv_event_snapshots_total",
                           "prefixd_late_masks_total",
                           "prefixd_format_bytes",
                           "prefixd_ignored_schema_keywords_total",
                           "prefixd_skipped_tools_total",
                           "prefixd_rate_limited_requests_total{limit=\"requests\"}",
                           "prefixd_rate_limited_requests_total{limit=\"tokens\"}",
                           "prefixd_forced_tokens_total",
                           "prefixd_refused_tokens_total",
                           "prefixd_prefill_seconds_saved_total"}) {
    expect(name);
  }
  EXPECT_EQ(samples.at("prefixd_build_info{version=\"1.2.3\",revision=\"abc\"}"), 1);
}

TEST(Metrics, OldNamesOfVllmHaveTheSameValues) {
  MetricsSnapshot snapshot = Empty();
  snapshot.engine.blocks[0].leased = 3;
  snapshot.engine.blocks[0].free = 9;
  snapshot.engine.prefix_query_tokens = 80;
  snapshot.engine.prefix_hit_tokens = 20;
  const auto samples = ParseExposition(RenderMetrics(snapshot));
  const auto value = [&](const std::string& name) { return samples.at(name + "{model_name=\"demo\"}"); };
  EXPECT_EQ(value("vllm:gpu_cache_usage_perc"), 0.25);
  EXPECT_EQ(value("vllm:gpu_cache_usage_perc"), value("vllm:kv_cache_usage_perc"));
  EXPECT_EQ(value("vllm:gpu_prefix_cache_queries_total"), 80);
  EXPECT_EQ(value("vllm:gpu_prefix_cache_hits_total"), 20);
  EXPECT_EQ(value("vllm:gpu_prefix_cache_hit_rate"), 0.25);
  EXPECT_EQ(ParseExposition(RenderMetrics(Empty())).at("vllm:gpu_prefix_cache_hit_rate{model_name=\"demo\"}"),
            0);
}

TEST(Metrics, TheSumsHoldWithinOneResponse) {
  MetricsSnapshot snapshot = Empty();
  EngineStats& engine = snapshot.engine;
  engine.prompt_tokens = {70, 20, 0, 0, 10};
  engine.miss_tokens[static_cast<int>(MissReason::kNeverSeen)] = 50;
  engine.miss_tokens[static_cast<int>(MissReason::kBlockTail)] = 20;
  engine.repeated_prompt_tokens = {5, 4, 3, 2, 1};
  engine.written_tokens = {31, 32, 33};
  engine.generation_tokens = 1000;  // not shown: some came after the end of their answers
  engine.dropped_tokens = 21;
  engine.late_masks = 23;
  snapshot.answers = {.generated = 41,
                      .discarded = 22,
                      .unanswered_prompt = 43,
                      .unanswered_generated = 44,
                      .formats = 45,
                      .ignored_keywords = 46,
                      .skipped_tools = 47,
                      .rate_limited = {53, 54}};
  snapshot.tenants = {{.tenant = "", .requests = 1, .tokens = 2}, {"alice", 3, 4}};
  snapshot.formats = {.compiled = 47, .bytes = 48};
  engine.blocks[0].free = 3;
  engine.blocks[0].cached = 2;
  engine.blocks[0].leased = 5;
  engine.block_bytes = 100;
  engine.finished = {4, 3, 2, 1};
  engine.cache.evicted_blocks[0] = 9;
  engine.cache.key_collisions = 6;
  engine.attention = {.read_bytes = 51, .saved_bytes = 52};
  snapshot.inflight = {.bytes = 11, .limit = 12, .refusals = 13, .slow_readers = 14};
  snapshot.remembered_bytes = 15;
  const auto samples = ParseExposition(RenderMetrics(snapshot));
  EXPECT_EQ(SumOf(samples, "prefixd_prompt_tokens_total"),
            samples.at("vllm:prompt_tokens_total{model_name=\"demo\"}"));
  EXPECT_EQ(SumOf(samples, "prefixd_cache_miss_tokens_total"),
            samples.at("prefixd_prompt_tokens_total{source=\"computed\"}"));
  EXPECT_EQ(SumOf(samples, "prefixd_repeated_prompt_tokens_total"), 15);
  EXPECT_EQ(samples.at("prefixd_repeated_prompt_tokens_total{source=\"device\"}"), 4);
  EXPECT_EQ(samples.at("prefixd_cache_write_tokens_total{part=\"prompt\"}"), 31);
  EXPECT_EQ(samples.at("prefixd_cache_write_tokens_total{part=\"answer\"}"), 32);
  EXPECT_EQ(samples.at("prefixd_cache_write_tokens_total{part=\"again\"}"), 33);
  EXPECT_EQ(samples.at("vllm:generation_tokens_total{model_name=\"demo\"}"), 41);
  EXPECT_EQ(samples.at("prefixd_discarded_tokens_total"), 43);
  EXPECT_EQ(samples.at("prefixd_format_requests_total"), 45);
  EXPECT_EQ(samples.at("prefixd_formats_compiled_total"), 47);
  EXPECT_EQ(samples.at("prefixd_format_bytes"), 48);
  EXPECT_EQ(samples.at("prefixd_late_masks_total"), 23);
  EXPECT_EQ(samples.at("prefixd_ignored_schema_keywords_total"), 46);
  EXPECT_EQ(samples.at("prefixd_skipped_tools_total"), 47);
  EXPECT_EQ(samples.at("prefixd_rate_limited_requests_total{limit=\"requests\"}"), 53);
  EXPECT_EQ(samples.at("prefixd_rate_limited_requests_total{limit=\"tokens\"}"), 54);
  EXPECT_EQ(samples.at("prefixd_tenant_tokens_total{tenant=\"alice\"}"), 4);
  EXPECT_EQ(samples.at("prefixd_unanswered_tokens_total{kind=\"prompt\"}"), 43);
  EXPECT_EQ(samples.at("prefixd_unanswered_tokens_total{kind=\"generated\"}"), 44);
  EXPECT_EQ(SumOf(samples, "prefixd_blocks{tier=\"device\"") * 100,
            samples.at("prefixd_tier_capacity_bytes{tier=\"device\"}"));
  EXPECT_EQ(samples.at("prefixd_tier_bytes{tier=\"device\"}"), 700);
  EXPECT_EQ(samples.at("vllm:kv_cache_usage_perc{model_name=\"demo\"}"), 0.5);
  EXPECT_EQ(samples.at("vllm:request_success_total{model_name=\"demo\",finished_reason=\"abort\"}"), 2);
  EXPECT_EQ(samples.at("prefixd_tier_evictions_total{tier=\"device\"}"), 9);
  EXPECT_EQ(samples.at("prefixd_verify_failures_total{kind=\"tokens\"}"), 6);
  EXPECT_EQ(samples.at("prefixd_attention_read_bytes_total"), 51);
  EXPECT_EQ(samples.at("prefixd_attention_saved_bytes_total"), 52);
  EXPECT_EQ(samples.at("prefixd_inflight_bytes"), 11);
  EXPECT_EQ(samples.at("prefixd_inflight_limit_bytes"), 12);
  EXPECT_EQ(samples.at("prefixd_inflight_refusals_total"), 13);
  EXPECT_EQ(samples.at("prefixd_slow_readers_total"), 14);
  EXPECT_EQ(samples.at("prefixd_remembered_request_bytes"), 15);
  EXPECT_EQ(SumOf(samples, "prefixd_verify_failures_total"), 6);
}

// Returns "name{tier="host"}".
std::string Of(const std::string& name, const std::string& tier) { return name + "{tier=\"" + tier + "\"}"; }

TEST(Metrics, EachTierShowsItsOwnNumbers) {
  MetricsSnapshot snapshot = Empty();
  EngineStats& engine = snapshot.engine;
  engine.block_bytes = 100;
  engine.blocks[0] = {.free = 1, .cached = 2, .leased = 3};
  engine.blocks[1] = {.free = 10, .cached = 20, .leased = 30};
  engine.cache.evicted_blocks = {4, 40};
  engine.transfers.read_bytes = {5, 50, 500, 5000};
  engine.transfers.written_bytes = {6, 60, 600};  // the last one is shown once it is durable
  snapshot.disk = {.on = true, .bytes = 7000, .capacity = 8000};
  snapshot.disk.store.records = 9;
  snapshot.disk.store.written_bytes = 550;
  snapshot.disk.store.evicted_records = 400;
  snapshot.remote = {.on = true, .bytes = 70'000, .capacity = 80'000, .written_bytes = 660};
  snapshot.remote.writes = {1, 2, 3, 4, 5};
  const auto samples = ParseExposition(RenderMetrics(snapshot));
  const auto expect = [&](const std::string& name, double device, double host, double disk) {
    EXPECT_EQ(samples.at(Of(name, "device")), device) << name;
    EXPECT_EQ(samples.at(Of(name, "host")), host) << name;
    EXPECT_EQ(samples.at(Of(name, "disk")), disk) << name;
  };
  EXPECT_EQ(samples.at(Of("prefixd_tier_bytes", "remote")), 70'000);
  EXPECT_EQ(samples.at(Of("prefixd_tier_capacity_bytes", "remote")), 80'000);
  EXPECT_EQ(samples.at(Of("prefixd_tier_written_bytes_total", "remote")), 660);
  EXPECT_EQ(samples.at(Of("prefixd_tier_read_bytes_total", "remote")), 5000);
  EXPECT_EQ(samples.at("prefixd_remote_writes_total{result=\"written\"}"), 1);
  EXPECT_EQ(samples.at("prefixd_remote_writes_total{result=\"failed\"}"), 5);
  expect("prefixd_tier_bytes", 500, 5000, 7000);
  expect("prefixd_tier_capacity_bytes", 600, 6000, 8000);
  expect("prefixd_tier_evictions_total", 4, 40, 400);
  expect("prefixd_tier_read_bytes_total", 5, 50, 500);
  expect("prefixd_tier_written_bytes_total", 6, 60, 550);
  EXPECT_EQ(samples.at("prefixd_blocks{tier=\"host\",state=\"free\"}"), 10);
  EXPECT_EQ(samples.at("prefixd_blocks{tier=\"host\",state=\"cached\"}"), 20);
  EXPECT_EQ(samples.at("prefixd_blocks{tier=\"host\",state=\"leased\"}"), 30);
  EXPECT_EQ(samples.at("prefixd_blocks{tier=\"disk\",state=\"cached\"}"), 9);
  EXPECT_EQ(SumOf(samples, "prefixd_blocks{tier=\"disk\""), 9);
}

TEST(Metrics, TransfersAreCountedByTheirEnd) {
  MetricsSnapshot snapshot = Empty();
  EngineStats& engine = snapshot.engine;
  engine.block_bytes = 100;
  engine.pending_disk_blocks = 3;
  engine.cache.loads = {1, 2, 3, 4};
  engine.cache.spills = {5, 6, 7, 8};
  engine.cache.key_collisions = 20;
  engine.transfers.errors[static_cast<size_t>(Tier::kDisk)] = {11, 12, 13, 14, 15};
  engine.transfers.verify_failures = {1, 2, 3, 4, 5, 6, 7};
  engine.transfers.load_seconds.counts[3] = 5;
  engine.transfers.store_queue_seconds.counts[3] = 6;
  engine.tier_seconds = 0.5;
  engine.draw_cpu_seconds = 0.25;
  snapshot.disk.store.pending_bytes = 45;
  snapshot.disk.store.rewritten_bytes = 46;
  snapshot.disk.store.lost_records = 30;
  const auto samples = ParseExposition(RenderMetrics(snapshot));
  const auto expect = [&](const std::string& series, double value) {
    EXPECT_EQ(samples.at(series), value) << series;
  };
  expect("prefixd_spill_pending_bytes", 345);
  expect("prefixd_disk_rewritten_bytes_total", 46);
  expect("prefixd_tier_engine_seconds_total", 0.5);
  expect("prefixd_draw_cpu_seconds_total", 0.25);
  expect("prefixd_tier_loads_total{result=\"ok\"}", 1);
  expect("prefixd_tier_loads_total{result=\"corrupt\"}", 4);
  expect("prefixd_tier_spills_total{result=\"failed\"}", 6);
  expect("prefixd_tier_errors_total{tier=\"disk\",kind=\"read\"}", 11);
  expect("prefixd_tier_errors_total{tier=\"disk\",kind=\"busy\"}", 15);
  EXPECT_EQ(SumOf(samples, "prefixd_tier_errors_total"), 11 + 12 + 13 + 14 + 15);
  expect("prefixd_verify_failures_total{kind=\"tokens\"}", 1 + 20);
  expect("prefixd_verify_failures_total{kind=\"nonfinite\"}", 6);
  expect("prefixd_verify_failures_total{kind=\"store\"}", 7 + 30);
  expect("prefixd_load_seconds_count", 5);
  expect("prefixd_store_queue_seconds_count", 6);
}

TEST(Metrics, HistogramsAreCumulativeAndEndInInfinity) {
  MetricsSnapshot snapshot = Empty();
  snapshot.engine.step_time.counts.front() = 2;
  snapshot.engine.step_time.counts[3] = 5;
  snapshot.engine.step_time.counts[kStepBounds.size()] = 1;
  snapshot.engine.step_time.sum = 123.5;
  const auto samples = ParseExposition(RenderMetrics(snapshot));
  EXPECT_EQ(samples.at("prefixd_step_seconds_bucket{le=\"0.0005\"}"), 2);
  EXPECT_EQ(samples.at("prefixd_step_seconds_bucket{le=\"0.005\"}"), 7);
  EXPECT_EQ(samples.at("prefixd_step_seconds_bucket{le=\"10\"}"), 7);
  EXPECT_EQ(samples.at("prefixd_step_seconds_bucket{le=\"+Inf\"}"), 8);
  EXPECT_EQ(samples.at("prefixd_step_seconds_count"), 8);
  EXPECT_EQ(samples.at("prefixd_step_seconds_sum"), 123.5);
}

TEST(Metrics, AgesComeFromTheirTiers) {
  MetricsSnapshot snapshot = Empty();
  snapshot.engine.cache.age_at_hit[0].Add(3);
  snapshot.engine.cache.age_at_hit[1].Add(30);
  snapshot.engine.transfers.record_ages.Add(300);
  snapshot.engine.cache.age_at_eviction[0].Add(4);
  snapshot.engine.cache.age_at_eviction[1].Add(40);
  snapshot.disk.store.ages_at_eviction.Add(400);
  const auto samples = ParseExposition(RenderMetrics(snapshot));
  const std::string hit = "prefixd_block_age_at_hit_seconds",
                    eviction = "prefixd_block_age_at_eviction_seconds";
  for (const auto& [tier, seconds] :
       std::map<std::string, double>{{"device", 3}, {"host", 30}, {"disk", 300}}) {
    EXPECT_EQ(samples.at(hit + "_sum{tier=\"" + tier + "\"}"), seconds);
    EXPECT_EQ(samples.at(hit + "_count{tier=\"" + tier + "\"}"), 1);
    EXPECT_EQ(samples.at(eviction + "_sum{tier=\"" + tier + "\"}"), seconds / 3 * 4);
  }
  EXPECT_EQ(samples.at(hit + "_bucket{tier=\"device\",le=\"1\"}"), 0);
  EXPECT_EQ(samples.at(hit + "_bucket{tier=\"device\",le=\"5\"}"), 1);
}

// What vLLM 0.11 has for the same names, and what the alerts compare with.
TEST(Metrics, BucketsContainThoseOfVllm) {
  const auto samples = ParseExposition(RenderMetrics(Empty()));
  const auto expect = [&](const std::string& name, std::initializer_list<const char*> bounds) {
    for (const char* bound : bounds) {
      const std::string series = "vllm:" + name + "_seconds_bucket{model_name=\"demo\",le=\"" + bound + "\"}";
      EXPECT_TRUE(samples.contains(series)) << series;
    }
  };
  expect("time_to_first_token",
         {"0.001", "0.005", "0.01", "0.02", "0.04", "0.06", "0.08", "0.1", "0.25", "0.5", "0.75",
          "1",     "2.5",   "5",    "7.5",  "10",   "20",   "40",   "80",  "160",  "640", "2560"});
  expect("inter_token_latency", {"0.01", "0.025", "0.05", "0.075", "0.1", "0.15", "0.2", "0.3", "0.4", "0.5",
                                 "0.75", "1", "2.5", "5", "7.5", "10", "20", "40", "80"});
  for (const char* name : {"e2e_request_latency", "request_queue_time"}) {
    expect(name, {"0.3", "0.5", "0.8", "1",  "1.5", "2",   "2.5", "5",   "10",   "15",  "20",
                  "30",  "40",  "50",  "60", "120", "240", "480", "960", "1920", "7680"});
  }
}

TEST(Metrics, BoundsGrow) {
  const EngineStats stats;
  for (const LatencyHistogram* histogram :
       {&stats.time_to_first_token, &stats.inter_token, &stats.end_to_end, &stats.queue_time,
        &stats.step_time, &stats.transfers.load_seconds, &stats.transfers.store_queue_seconds}) {
    EXPECT_TRUE(std::ranges::is_sorted(histogram->bounds, std::ranges::less_equal{}));
    LatencyHistogram filled = *histogram;
    for (const double bound : filled.bounds) filled.Add(bound);
    filled.Add(1e9);
    for (size_t i = 0; i <= filled.bounds.size(); ++i) EXPECT_EQ(filled.counts[i], 1u) << i;
  }
}

// A line that is not told from a sample makes Prometheus refuse the whole scrape.
TEST(Metrics, EveryFamilyHasOneLineOfHelp) {
  std::istringstream lines(RenderMetrics(Empty()));
  std::string help;
  int families = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) help = line.substr(7);
    if (!line.starts_with("# TYPE ")) continue;
    ++families;
    const std::string name = line.substr(7, line.find(' ', 7) - 7);
    EXPECT_TRUE(help.starts_with(name + " ") && help.ends_with('.')) << line << " has the help: " << help;
  }
  EXPECT_GT(families, 50);
}

TEST(Metrics, AModelNameCannotBreakTheFormat) {
  MetricsSnapshot snapshot = Empty();
  snapshot.model_name = "a\"b\\c\nd";
  const std::string text = RenderMetrics(snapshot);
  ParseExposition(text);
  EXPECT_THAT(text, HasSubstr("model_name=\"a\\\"b\\\\c\\nd\""));
}

TEST(ProcessUsage, ReadsThisProcess) {
  const ProcessUsage usage = ReadProcessUsage();
  EXPECT_GT(usage.resident_bytes, 0u);
  EXPECT_GE(usage.virtual_bytes, usage.resident_bytes);
  EXPECT_GE(usage.open_fds, 3u);
  EXPECT_GE(usage.max_fds, usage.open_fds);
  EXPECT_GT(usage.start_time_seconds, 1.6e9);
}

}  // namespace
}  // namespace prefixd
