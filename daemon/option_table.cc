#include "daemon/options.h"

#include <algorithm>

namespace prefixd {
namespace {

constexpr int64_t kMaxThreads = 1024;
constexpr int64_t kMaxCpus = 8192;  // of a Linux kernel
constexpr int64_t kMaxBytes = int64_t{1} << 50;
constexpr int64_t kMaxSeconds = 86400;

using O = Options;
using K = OptionKind;

// name, value name, kind, member, default, group, help, min, max, choices
constexpr OptionSpec kTable[] = {
    {"model", "PATH", K::kText, &O::model, "", "Model",
     "Hugging Face folder or GGUF file of the model; required"},
    {"load", "NAME", K::kChoice, &O::load, "real", "Model",
     "weights: real, those of the files, or dummy, made from config.json alone, for measurements", 0, 0,
     "real|dummy"},
    {"served-model-name", "NAME", K::kText, &O::served_model_name, "", "Model",
     "name in /v1/models and in metrics; default: the last component of the model path"},
    {"chat-template", "FILE", K::kText, &O::chat_template, "", "Model",
     "Jinja template that replaces the model's own"},
    {"tool-format", "NAME", K::kText, &O::tool_format, "auto", "Model",
     "how the model writes calls of tools (docs/CLIENTS.md has the names); auto: as its chat template shows"},
    {"reasoning-format", "NAME", K::kChoice, &O::reasoning_format, "auto", "Model",
     "reasoning between tags of the chat template: auto, as reasoning_content; none, left in the content", 0,
     0, "auto|none"},
    {"special-tokens-in-content", "", K::kFlag, &O::special_tokens_in_content, "false", "Model",
     "control tokens in the messages of a chat become tokens; without it they are plain text"},
    {"reuse-generated-ids", "", K::kFlag, &O::reuse_generated_ids, "false", "Model",
     "an answer that is sent back in a chat keeps the ids that were generated; a request may say otherwise"},
    {"backend", "NAME", K::kChoice, &O::backend, "auto", "Model",
     "kernels that compute the model; auto: the fastest that runs on this machine", 0, 0,
     "auto|ref|avx2|avx512|avx512bf16|cuda"},
    {"device", "N", K::kInteger, &O::device, "0", "Model",
     "GPU of the backend cuda, from 0 in the order of CUDA_VISIBLE_DEVICES", 0, 1023},
    {"threads", "N", K::kInteger, &O::threads, "auto", "Model",
     "compute threads; auto: one per CPU that the affinity and the CPU quota of the cgroup allow", 1,
     kMaxCpus},
    {"deterministic", "", K::kFlag, &O::deterministic, "false", "Model",
     "only prefixd's own kernels compute; without it the backend cuda takes cuBLASLt where that has their "
     "bits"},
    {"product-choices", "FILE", K::kText, &O::product_choices, "", "Model",
     "file that keeps how cuBLASLt multiplies on this GPU, so that every start chooses alike; without it "
     "none"},
    {"activations", "TYPE", K::kChoice, &O::activations, "bf16", "Model",
     "activations on a CPU: bf16 rounds them for bf16 weights, quantises them for quantised ones; or f32", 0,
     0, "bf16|f32"},
    {"quantize", "FORMAT", K::kChoice, &O::quantize, "none", "Model",
     "quantises the weights while they load: to 8 or 4 bits and a scale for every 32, as in GGUF", 0, 0,
     "none|q8_0|q4_0"},
    {"kv-dtype", "TYPE", K::kChoice, &O::kv_dtype, "auto", "Model",
     "type of cached keys and values; auto: that of the weights; q8_0: 8 bits and scales; fp8: e4m3, on a "
     "GPU",
     0, 0, "auto|f32|f16|bf16|q8_0|fp8"},

    {"listen", "ADDR:PORT", K::kText, &O::listen, "127.0.0.1:8080", "Listening",
     "address of the HTTP server; port 0 selects a free port; unix:PATH for a Unix socket"},
    {"tls-cert", "FILE", K::kText, &O::tls_cert, "", "Listening",
     "certificate as PEM, with its chain after it: the HTTP server takes TLS alone; without it none"},
    {"tls-key", "FILE", K::kText, &O::tls_key, "", "Listening", "key of that certificate as PEM"},
    {"api-keys", "FILE", K::kText, &O::api_keys, "", "Listening",
     "file of the accepted API keys: one per line, or entries of prefixd keys hash; without it none is "
     "required"},
    {"allow-no-keys", "", K::kFlag, &O::allow_no_keys, "false", "Listening",
     "without api-keys, listen on an address that others than this machine reach, too"},
    {"admin-listen", "ADDR:PORT", K::kText, &O::admin_listen, "", "Listening",
     "address that prefixd inspect --live asks: unix:PATH, of this machine, or any with api-keys; without it "
     "none"},
    {"cors-origin", "LIST", K::kText, &O::cors_origin, "", "Listening",
     "origins of web pages that may call, separated by commas, or * for every page; without it none"},
    {"io-threads", "N", K::kInteger, &O::io_threads, "2", "Listening",
     "threads that parse, tokenise and answer HTTP", 1, kMaxThreads},
    {"max-connections", "N", K::kInteger, &O::max_connections, "1024", "Listening",
     "open connections; further ones are answered 503", 1, 1000000},
    {"max-body", "SIZE", K::kSize, &O::max_body, "16 MiB", "Listening",
     "largest request body, in bytes; larger ones are answered 413", 1024, int64_t{1} << 32},
    {"max-inflight", "SIZE", K::kSize, &O::max_inflight, "512 MiB", "Listening",
     "all requests and answers in memory together, in bytes; further ones are answered 503", 1 << 20,
     int64_t{1} << 40},
    {"header-seconds", "N", K::kInteger, &O::header_seconds, "10", "Listening",
     "seconds to receive the header of a request; then it is answered 408", 1, kMaxSeconds},
    {"body-seconds", "N", K::kInteger, &O::body_seconds, "60", "Listening",
     "seconds to receive the body of a request; then it is answered 408", 1, kMaxSeconds},
    {"idle-seconds", "N", K::kInteger, &O::idle_seconds, "75", "Listening",
     "seconds after which an idle connection is closed", 1, kMaxSeconds},
    {"reader-seconds", "N", K::kInteger, &O::reader_seconds, "60", "Listening",
     "seconds for a client to read 64 KiB of its answer; then it is disconnected", 1, kMaxSeconds},
    {"stream-backlog", "SIZE", K::kSize, &O::stream_backlog, "1 MiB", "Listening",
     "unsent bytes of a stream; when a slow client exceeds them, its stream is aborted", 4096,
     int64_t{1} << 32},

    {"device-cache", "SIZE", K::kSize, &O::device_cache, "auto", "Cache",
     "memory for KV blocks that the kernels read, in bytes; auto: half of what the other parts leave free",
     4096, kMaxBytes},
    {"block-tokens", "N", K::kInteger, &O::block_tokens, "16", "Cache", "tokens per KV block; a power of two",
     1, 1024},
    {"eviction", "NAME", K::kChoice, &O::eviction, "adaptive", "Cache",
     "which cached prefix is evicted first: by its measured reuse, by 2Q, or the least recently used", 0, 0,
     "adaptive|2q|lru"},
    {"retained-share", "N", K::kInteger, &O::retained_share, "25", "Cache",
     "percent of each tier that requests can have kept for a time; 0: nothing is kept", 0, 100},
    {"host-cache", "SIZE", K::kSize, &O::host_cache, "0", "Cache",
     "memory for KV blocks that left the device cache, in bytes; 0: no such tier", 0, kMaxBytes},
    {"disk-cache-dir", "DIR", K::kText, &O::disk_cache_dir, "", "Cache",
     "directory of the disk cache, which outlives the process and is created if need be; without it none"},
    {"disk-cache", "SIZE", K::kSize, &O::disk_cache, "auto", "Cache",
     "bytes on the disk that the disk cache never exceeds; auto: a tenth of what is free there at start",
     8 << 20, kMaxBytes},
    {"disk-write-through", "", K::kFlag, &O::disk_write_through, "false", "Cache",
     "writes every block to the disk; without it only those that are used a second time, and at the end all"},
    {"disk-compression", "MODE", K::kChoice, &O::disk_compression, "auto", "Cache",
     "lossless compression of the disk cache; auto: where it makes loads faster, which is for f32 and bf16",
     0, 0, "auto|on|off"},
    {"disk-max-age", "TIME", K::kDuration, &O::disk_max_age, "none", "Cache",
     "how long a block may lie in the disk cache: none, or a number with s, m, h, d or w", 0, 0},
    {"remote-cache", "URL", K::kText, &O::remote_cache, "", "Cache",
     "store that daemons share, below the disk: redis[s]://[user:password@]host[:port][/database]; without "
     "it none"},
    {"remote-tls-ca", "FILE", K::kText, &O::remote_tls_ca, "", "Cache",
     "certificates as PEM that may sign that of a rediss:// server; without it those of the system"},
    {"remote-tls-cert", "FILE", K::kText, &O::remote_tls_cert, "", "Cache",
     "certificate as PEM, with its chain, that a rediss:// server is shown"},
    {"remote-tls-key", "FILE", K::kText, &O::remote_tls_key, "", "Cache", "key of that certificate as PEM"},
    {"remote-write-rate", "SIZE", K::kSize, &O::remote_write_rate, "64 MiB", "Cache",
     "bytes that this daemon writes to the remote cache in a second, at most", 1 << 10, kMaxBytes},
    {"remote-write-through", "", K::kFlag, &O::remote_write_through, "false", "Cache",
     "writes every block to the remote cache as soon as it is computed, not only those that are wanted "
     "again"},
    {"remote-lease-seconds", "X", K::kSeconds, &O::remote_lease_milliseconds, "0.5", "Cache",
     "what takes longer to compute, one daemon of a remote cache computes for all that want it; 0: nothing",
     0, 3600'000},
    {"remote-max-age", "TIME", K::kDuration, &O::remote_max_age, "none", "Cache",
     "how long the remote cache keeps a block of this daemon: none, or a number with s, m, h, d or w", 0, 0},
    {"warm-start", "SIZE", K::kSize, &O::warm_start, "4 GiB", "Cache",
     "bytes that the start loads of what others with that cache use most, before it is ready; 0: none", 0,
     kMaxBytes},
    {"warm-start-seconds", "N", K::kInteger, &O::warm_start_seconds, "10", "Cache",
     "seconds that it may take; 0: there is none", 0, kMaxSeconds},
    {"load-policy", "NAME", K::kChoice, &O::load_policy, "auto", "Cache",
     "what a hit in a lower tier does: auto, what is faster by measured rates; load or recompute, for "
     "measurements",
     0, 0, "auto|load|recompute"},
    {"no-prefix-cache", "", K::kFlag, &O::no_prefix_cache, "false", "Cache",
     "no reuse of KV between requests; the baseline for measurements"},

    {"kv-events", "ENDPOINT", K::kText, &O::kv_events, "", "Events",
     "tells routers what is cached, as vLLM's KV events: tcp://127.0.0.1:5557 or ipc://PATH; without it "
     "none"},
    {"kv-events-replay", "ENDPOINT", K::kText, &O::kv_events_replay, "", "Events",
     "where routers ask for events that they have missed; without it none can"},
    {"kv-events-topic", "TEXT", K::kText, &O::kv_events_topic, "", "Events",
     "topic of the events, such as kv@ADDR:PORT@MODEL for llm-d; empty for vllm-router, as of vLLM"},
    {"kv-events-sequence", "FILE", K::kText, &O::kv_events_sequence, "", "Events",
     "file that keeps the number of the last event, so that numbers never fall; without it they begin at 0"},
    {"kv-events-tenants", "", K::kFlag, &O::kv_events_tenants, "false", "Events",
     "publishes also what keys and salts keep apart; without it only what all requests share"},

    {"context", "N", K::kInteger, &O::context, "auto", "Limits",
     "tokens of prompt and output together; auto: the model's context, or less if the device cache is "
     "smaller",
     2, int64_t{1} << 24},
    {"max-sequences", "N", K::kInteger, &O::max_sequences, "64", "Limits",
     "sequences that run at the same time", 1, 65536},
    {"step-tokens", "N", K::kInteger, &O::step_tokens, "auto", "Limits",
     "tokens computed in one step, at most; auto: 512, on a GPU 1024, or max-sequences if that is more", 1,
     65536},
    {"step-seconds", "X", K::kSeconds, &O::step_milliseconds, "0.5", "Limits",
     "seconds that a step may take; the tokens of prompts in a step follow the measured speed", 10, 3600'000},
    {"max-queue", "N", K::kInteger, &O::max_queue, "1024", "Limits",
     "requests that wait to run; further ones are answered 429", 1, 1000000},
    {"max-tokens-in-flight", "N", K::kInteger, &O::max_tokens_in_flight, "auto", "Limits",
     "prompt tokens of requests that wait or run; more are answered 429; auto: 1048576, or four contexts", 2,
     int64_t{1} << 40},
    {"max-logprobs", "N", K::kInteger, &O::max_logprobs, "20", "Limits",
     "largest number of logprobs per token in a request; -1: the whole vocabulary", -1, int64_t{1} << 24},
    {"drain-seconds", "N", K::kInteger, &O::drain_seconds, "30", "Limits",
     "seconds for running requests to finish after SIGTERM", 0, kMaxSeconds},

    {"log-level", "LEVEL", K::kChoice, &O::log_level, "info", "Logging", "lowest level that is logged", 0, 0,
     "debug|info|warning|error"},
    {"log-format", "FORMAT", K::kChoice, &O::log_format, "text", "Logging",
     "format of the log lines on stderr", 0, 0, "text|json"},
    {"config", "FILE", K::kText, &O::config, "", "Logging",
     "TOML file that sets any of these options as some-name = value"},
};

}  // namespace

std::span<const OptionSpec> OptionTable() { return kTable; }

const OptionSpec* FindOption(std::string_view name) {
  const auto* found = std::ranges::find(kTable, name, &OptionSpec::name);
  return found == std::end(kTable) ? nullptr : found;
}

}  // namespace prefixd
