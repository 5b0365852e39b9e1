// Replays a trace with the eviction that no policy can beat, because it knows the future: the block whose
// next use is the farthest goes first (Belady: "A study of replacement algorithms for a virtual-storage
// computer", 1966). Plain function; one thread.
#pragma once

#include <cstdint>

#include "bench/replay.h"

namespace prefixd::bench {

// The upper bound for Replay(), by the same rules. Requires capacity >= trace.longest_request.
ReplayResult ReplayOptimal(const Trace& trace, uint32_t capacity);

}  // namespace prefixd::bench
