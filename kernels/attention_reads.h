// AttentionReads: the KV that attention reads from the blocks. Plain values; any thread.
#pragma once

#include <cstdint>

namespace prefixd {

// In bytes of KV, over all layers. Attention reads a block of a layer once for a number of rows that it
// computes together. Sequences of a step that share a prefix may be computed together.
struct AttentionReads {
  uint64_t read_bytes = 0;
  // Not read because sequences were computed together. read_bytes + saved_bytes is what the same steps read
  // where every sequence is computed alone.
  uint64_t saved_bytes = 0;

  AttentionReads& operator+=(const AttentionReads& more) {
    read_bytes += more.read_bytes;
    saved_bytes += more.saved_bytes;
    return *this;
  }
  friend bool operator==(const AttentionReads&, const AttentionReads&) = default;
};

}  // namespace prefixd
