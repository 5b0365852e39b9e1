// RequestTrace: what remains of a request that has ended, for operators: ids, hashes, offsets, counts and
// times; never a token or a text. Plain values; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "cache/prefix_cache.h"
#include "engine/request.h"

namespace prefixd {

// A request that has ended. Times are on the engine's clock.
struct RequestTrace {
  std::string name;  // Request::name
  RequestId id = 0;
  BlockKey root;  // of its namespace
  int prompt_tokens = 0, generated_tokens = 0;
  PromptUsage usage;  // sums to prompt_tokens when the prompt was computed
  std::array<uint64_t, kMissReasons> miss_tokens{};
  std::optional<FirstMiss> first_miss;  // nothing: it computed no token of its prompt
  RequestTimes times;
  FinishReason finish = FinishReason::kStop;
};

}  // namespace prefixd
