#include "daemon/api/prompt_usage_tracker.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace prefixd {

bool PromptUsageTracker::HasAllUsage() const {
  return std::all_of(prompts_.begin(), prompts_.end(),
                     [](const Prompt& prompt) { return prompt.usage.has_value(); });
}

void PromptUsageTracker::SetWritten(size_t prompt, size_t sequence, int tokens) {
  std::vector<int>& written = At(prompt).written;
  if (written.size() <= sequence) written.resize(sequence + 1);
  written[sequence] = tokens;
}

int PromptUsageTracker::CompleteTokens() const {
  int complete = 0;
  for (const Prompt& prompt : prompts_)
    complete += prompt.usage && prompt.usage->total() == prompt.tokens ? prompt.tokens : 0;
  return complete;
}

PromptUsage PromptUsageTracker::TokensBySource() const {
  PromptUsage sum;
  for (const Prompt& prompt : prompts_) {
    if (!prompt.usage) {
      sum.tokens[static_cast<size_t>(TokenSource::kComputed)] += prompt.tokens;
      continue;
    }
    for (size_t i = 0; i < kTokenSources; ++i) sum.tokens[i] += prompt.usage->tokens[i];
    for (size_t i = 0; i < kLoadDecisions; ++i) sum.load_decisions[i] += prompt.usage->load_decisions[i];
    for (size_t i = 0; i < kTiers; ++i) sum.load_wait_seconds[i] += prompt.usage->load_wait_seconds[i];
  }
  return sum;
}

TokenUsage PromptUsageTracker::Usage() const {
  TokenUsage usage;
  for (const Prompt& prompt : prompts_) {
    const int cached = prompt.usage ? prompt.usage->cached() : 0;
    usage.prompt_tokens += prompt.tokens;
    usage.cached_tokens += cached;
    // After an eviction, a sequence may write what the first one has read or written.
    const int written = std::accumulate(prompt.written.begin(), prompt.written.end(), 0);
    const int counted = std::min(written, prompt.tokens - cached);
    usage.cache_write_tokens += counted;
    if (!prompt.usage) continue;
    usage.asked_kept_tokens += prompt.usage->asked_kept;
    usage.kept_tokens += prompt.usage->kept;
    for (size_t i = 0; i < usage.written_for.size(); ++i)
      usage.written_for[i] += std::min(prompt.usage->written_for[i], counted);
  }
  return usage;
}

HttpHeaders PromptUsageTracker::Headers() const {
  const TokenUsage usage = Usage();
  const PromptUsage sources = TokensBySource();
  const auto from = [&](TokenSource source) {
    return std::to_string(sources.tokens[static_cast<size_t>(source)]);
  };
  std::string remote;  // told where there is some: clients may know the other four alone
  if (sources.tokens[static_cast<size_t>(TokenSource::kRemote)] > 0)
    remote = ",remote=" + from(TokenSource::kRemote);
  return {{"x-prefixd-cached-tokens", std::to_string(usage.cached_tokens)},
          {"x-prefixd-computed-tokens", std::to_string(usage.computed_tokens())},
          {"x-prefixd-cache-source",
           "device=" + from(TokenSource::kDevice) + ",host=" + from(TokenSource::kHost) +
               ",disk=" + from(TokenSource::kDisk) + ",shared=" + from(TokenSource::kShared) + remote}};
}

}  // namespace prefixd
