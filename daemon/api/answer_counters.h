// AnswerCounters: what became of the tokens that the engine generated, and of the prompts that it computed.
// The engine cannot know it: a stop string is found in the text, and the connection sees a client leave.
//
// Threads: any. The io threads count; /metrics reads.
//
// Invariants, when no request is waiting or running
//   1. `generated` is the sum of usage.completion_tokens of all answers, and `unanswered_generated`.
//   2. `generated` + `discarded` is EngineStats::generation_tokens.
//   3. A token is counted before the part of an answer that has it is sent.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace prefixd {

struct AnswerCounts {
  uint64_t generated = 0;  // tokens of answers
  uint64_t discarded = 0;  // tokens that came after the end of their answer
  // Of requests that ended without an answer: complete prompts, and the part of `generated`.
  uint64_t unanswered_prompt = 0, unanswered_generated = 0;
  // Requests whose answers follow a format, and keywords of their schemas that were ignored.
  uint64_t formats = 0, ignored_keywords = 0;
  // Tools of requests that are left out because another server would run them.
  uint64_t skipped_tools = 0;
  // Requests that a tenant's limit of requests or of tokens has refused.
  std::array<uint64_t, 2> rate_limited{};
};

class AnswerCounters {
 public:
  // The engine has generated `tokens` for a choice, which took `taken` of them.
  void AddTokens(size_t tokens, int taken) {
    generated_ += static_cast<uint64_t>(taken);
    discarded_ += tokens - static_cast<size_t>(taken);
  }
  // A request has ended without an answer. `generated_tokens` were taken.
  void AddUnanswered(int prompt_tokens, int generated_tokens) {
    unanswered_prompt_ += static_cast<uint64_t>(prompt_tokens);
    unanswered_generated_ += static_cast<uint64_t>(generated_tokens);
  }
  // A request asks for a format, of whose schema so many keywords are ignored.
  void AddFormat(size_t ignored_keywords) {
    ++formats_;
    ignored_keywords_ += ignored_keywords;
  }
  void AddSkippedTool() { ++skipped_tools_; }
  // A limit of a tenant has refused a request.
  enum class Rate : uint8_t { kRequests, kTokens };
  void AddRefused(Rate rate) { ++rate_limited_[static_cast<size_t>(rate)]; }
  AnswerCounts Read() const {
    return {.generated = generated_,
            .discarded = discarded_,
            .unanswered_prompt = unanswered_prompt_,
            .unanswered_generated = unanswered_generated_,
            .formats = formats_,
            .ignored_keywords = ignored_keywords_,
            .skipped_tools = skipped_tools_,
            .rate_limited = {rate_limited_[0], rate_limited_[1]}};
  }

 private:
  std::atomic<uint64_t> generated_{0}, discarded_{0}, unanswered_prompt_{0}, unanswered_generated_{0};
  std::atomic<uint64_t> formats_{0}, ignored_keywords_{0}, skipped_tools_{0};
  std::array<std::atomic<uint64_t>, 2> rate_limited_{};
};

}  // namespace prefixd
