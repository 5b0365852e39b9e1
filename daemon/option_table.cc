#include "daemon/options.h"

#include <algorithm>

namespace prefixd {
namespace {

constexpr int64_t kMaxThreads = 1024;
constexpr int64_t kMaxBytes = int64_t{1} << 50;
constexpr int64_t kMaxSeconds = 86400;

using O = Options;
using K = OptionKind;

// name, value name, kind, member, default, group, help, min, max, choices, later choices
constexpr OptionSpec kTable[] = {
    {"model", "PATH", K::kText, &O::model, "", "Model",
     "folder of the model (Hugging Face layout); required"},
    {"served-model-name", "NAME", K::kText, &O::served_model_name, "", "Model",
     "name in /v1/models and in metrics; default: the last part of the model's path"},
    {"chat-template", "FILE", K::kText, &O::chat_template, "", "Model",
     "Jinja template in place of the model's own"},
    {"backend", "NAME", K::kChoice, &O::backend, "auto", "Model",
     "which kernels compute; auto: the fastest that runs here", 0, 0, "auto|ref|avx2|avx512", "cuda"},
    {"threads", "N", K::kInteger, &O::threads, "auto", "Model", "compute threads; auto: one per usable CPU",
     1, kMaxThreads},
    {"deterministic", "", K::kFlag, &O::deterministic, "false", "Model",
     "bit-equal answers on every machine; CPU backends always give them"},
    {"kv-dtype", "TYPE", K::kChoice, &O::kv_dtype, "auto", "Model",
     "element type of cached keys and values; auto: that of the weights", 0, 0, "auto|f32|f16|bf16",
     "q8_0|fp8"},

    {"listen", "ADDR:PORT", K::kText, &O::listen, "127.0.0.1:8080", "Listening",
     "address of the HTTP server; port 0 takes a free one; unix:PATH for a socket"},
    {"api-keys", "FILE", K::kText, &O::api_keys, "", "Listening",
     "file with one accepted API key per line; none: everyone is let in"},
    {"io-threads", "N", K::kInteger, &O::io_threads, "2", "Listening",
     "threads that parse, tokenise and answer HTTP", 1, kMaxThreads},
    {"max-connections", "N", K::kInteger, &O::max_connections, "1024", "Listening",
     "connections open at once; further ones are answered 503", 1, 1000000},
    {"max-body", "SIZE", K::kSize, &O::max_body, "16 MiB", "Listening", "longest request body, in bytes",
     1024, int64_t{1} << 32},
    {"max-bodies", "SIZE", K::kSize, &O::max_bodies, "256 MiB", "Listening",
     "request bodies held at once, in bytes; further ones are answered 503", 1 << 20, int64_t{1} << 40},
    {"header-seconds", "N", K::kInteger, &O::header_seconds, "10", "Listening",
     "seconds a client has for the header of a request", 1, kMaxSeconds},
    {"body-seconds", "N", K::kInteger, &O::body_seconds, "60", "Listening",
     "seconds a client has for the body of a request", 1, kMaxSeconds},
    {"idle-seconds", "N", K::kInteger, &O::idle_seconds, "75", "Listening",
     "seconds after which an idle connection is closed", 1, kMaxSeconds},
    {"stream-backlog", "SIZE", K::kSize, &O::stream_backlog, "1 MiB", "Listening",
     "bytes a slow client may leave unread before its stream is cut", 4096, int64_t{1} << 32},

    {"device-cache", "SIZE", K::kSize, &O::device_cache, "auto", "Cache",
     "memory for KV blocks where the kernels read them, in bytes; auto: half of what the weights leave", 4096,
     kMaxBytes},
    {"block-tokens", "N", K::kInteger, &O::block_tokens, "16", "Cache",
     "tokens of a KV block; a power of two", 1, 1024},
    {"no-prefix-cache", "", K::kFlag, &O::no_prefix_cache, "false", "Cache",
     "no reuse at all: the yardstick"},

    {"context", "N", K::kInteger, &O::context, "auto", "Limits",
     "tokens of prompt and answer together; auto: the model's, as far as the device cache holds it", 2,
     int64_t{1} << 24},
    {"max-sequences", "N", K::kInteger, &O::max_sequences, "64", "Limits", "sequences that run at once", 1,
     65536},
    {"step-tokens", "N", K::kInteger, &O::step_tokens, "512", "Limits",
     "tokens computed in one step, at most", 1, 65536},
    {"max-queue", "N", K::kInteger, &O::max_queue, "256", "Limits",
     "requests that wait to run; further ones are answered 429", 1, 1000000},
    {"max-logprobs", "N", K::kInteger, &O::max_logprobs, "20", "Limits",
     "most logprobs per token a request may ask for; -1: the whole vocabulary", -1, int64_t{1} << 24},
    {"drain-seconds", "N", K::kInteger, &O::drain_seconds, "30", "Limits",
     "seconds that running requests have to finish after SIGTERM", 0, kMaxSeconds},

    {"log-level", "LEVEL", K::kChoice, &O::log_level, "info", "Logging", "least severe level that is logged",
     0, 0, "debug|info|warning|error"},
    {"log-format", "FORMAT", K::kChoice, &O::log_format, "text", "Logging",
     "form of the lines on stderr, one per event", 0, 0, "text|json"},
    {"config", "FILE", K::kText, &O::config, "", "Logging",
     "TOML file with any of these options as some-name = value"},
};

constexpr std::string_view kLater[] = {
    "host-cache",  "disk-cache-dir", "disk-cache",   "disk-write-through",
    "load-policy", "quantize",       "admin-listen",
};

}  // namespace

std::span<const OptionSpec> OptionTable() { return kTable; }

const OptionSpec* FindOption(std::string_view name) {
  const auto* found = std::ranges::find(kTable, name, &OptionSpec::name);
  return found == std::end(kTable) ? nullptr : found;
}

std::span<const std::string_view> LaterOptions() { return kLater; }

}  // namespace prefixd
