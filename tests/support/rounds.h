// How often a random test repeats. Sanitizers make code many times slower, so their builds run a fixed part
// of the rounds. The release stage runs all of them. Constants; any thread.
#pragma once

#include <algorithm>

namespace prefixd::testing_support {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

// `full` rounds, or an eighth of them with sanitizers, but at least one.
constexpr int Rounds(int full) { return kSanitized ? std::max(1, full / 8) : full; }

}  // namespace prefixd::testing_support
