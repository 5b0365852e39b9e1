// TierProbe: what a daemon assumes about loading and computing before it has measured any. Its decisions
// about loads begin with it, see cache/load_planner.h.
//
// Threads: any; it takes at most about half a second, of which the disk has 0.1 s, and decoding 0.02 s.
#pragma once

#include <array>
#include <string>

#include "cache/tier.h"
#include "daemon/serve_plan.h"
#include "kernels/kv_layout.h"

namespace prefixd {

struct TierProbe {
  std::array<double, kTiers> block_seconds{};  // to load a block, by tier; 0: not known
  double token_seconds = 0;                    // to compute a token of a prompt; 0: not known
};

// Does nothing without lower tiers. Of what cannot be measured nothing is known. The probe of the disk takes
// at most half of `disk_room`, the bytes that the disk cache has left.
TierProbe ProbeTiers(const ServePlan& plan, const KvLayout& layout, uint64_t disk_room);

// Bytes per second of reads past the page cache, one after the other, in a file without a name in
// `directory`. They have `piece` bytes, rounded up to whole pages, and at most 1 MiB. 0: it cannot be
// measured there. Writes and reads at most `most` bytes and 8 MiB, and stops after 0.1 s.
double ProbeReads(const std::string& directory, size_t piece, uint64_t most);

// Seconds to check and decode a record of a block with the codec. 0: no memory for it.
double ProbeDecoding(const KvLayout& layout, const CodecChoice& codec);

}  // namespace prefixd
