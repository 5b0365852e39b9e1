#include "daemon/api/request_log.h"

#include "base/log.h"
#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

// "length:1,stop:2"
std::string Counts(const std::map<std::string, int>& counts) {
  std::string text;
  for (const auto& [name, count] : counts)
    text += (text.empty() ? "" : ",") + name + ":" + std::to_string(count);
  return text;
}

// "load:1,overtaken:1"; empty: no hit in a lower tier.
std::string Decisions(const std::array<int, kLoadDecisions>& counts) {
  std::map<std::string, int> named;
  for (int i = 0; i < kLoadDecisions; ++i) {
    const int count = counts[static_cast<size_t>(i)];
    if (count > 0) named[std::string(LoadDecisionName(static_cast<LoadDecision>(i)))] = count;
  }
  return Counts(named);
}

}  // namespace

void LogRequest(const RequestRecord& record) {
  const auto from = [&](TokenSource source) { return record.sources.tokens[static_cast<size_t>(source)]; };
  // Prefill produces the first token of every choice.
  const int decoded = record.usage.completion_tokens - record.choices;
  const double rate = record.decode_seconds > 0 && decoded > 0 ? decoded / record.decode_seconds : 0.0;
  Log(LogLevel::kInfo, "request",
      {{"request_id", record.request_id},
       {"endpoint", record.endpoint},
       {"status", record.status},
       {"prompts", record.prompts},
       {"choices", record.choices},
       {"finish_reasons", Counts(record.finish_reasons)},
       {"prompt_tokens", record.usage.prompt_tokens},
       {"computed_tokens", from(TokenSource::kComputed)},
       {"device_tokens", from(TokenSource::kDevice)},
       {"host_tokens", from(TokenSource::kHost)},
       {"disk_tokens", from(TokenSource::kDisk)},
       {"shared_tokens", from(TokenSource::kShared)},
       {"remote_tokens", from(TokenSource::kRemote)},
       {"load_decisions", Decisions(record.sources.load_decisions)},
       {"load_wait_seconds", record.sources.load_wait()},
       {"generated_tokens", record.usage.completion_tokens},
       {"queue_seconds", record.queue_seconds},
       {"ttft_seconds", record.first_token_seconds},
       {"decode_tokens_per_second", rate},
       {"duration_seconds", record.total_seconds}});
}

void RejectRequest(Exchange& exchange, const ApiError& error) {
  // The path is that of a route, not arbitrary text of the client.
  Log(LogLevel::kInfo, "request refused",
      {{"request_id", exchange.request_id()},
       {"path", exchange.request().path},
       {"status", error.status},
       {"code", error.code},
       {"param", error.param}});
  RespondError(exchange, error);
}

}  // namespace prefixd
